import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AuthenticationError, RateLimitError, Sandbox, SandboxNotFoundError, TimeoutError } from 'e2b'
import { eventually, useHost } from './harness.mjs'

const host = useHost('--limit', '6')

test('a sandbox is made, answers, and is gone after kill', async () => {
  const sandbox = await Sandbox.create({ metadata: { purpose: 'first' }, envs: { GREETING: 'hello' } })
  assert.match(sandbox.sandboxId, /^[a-z0-9]+$/)
  assert.equal(await sandbox.isRunning(), true)
  assert.equal((await sandbox.commands.run('echo $GREETING')).stdout, 'hello\n')
  assert.notDeepEqual(host.left(), [], 'a living sandbox must be seen, or the check at the end means nothing')

  assert.equal(await sandbox.kill(), true)

  assert.equal(await sandbox.isRunning(), false)
  assert.equal(await Sandbox.kill(sandbox.sandboxId), false)
  await assert.rejects(Sandbox.getInfo(sandbox.sandboxId), SandboxNotFoundError)
  await assert.rejects(sandbox.commands.run('true'), (error) => error instanceof SandboxNotFoundError || error instanceof TimeoutError)
})

test('another client connects to it by its id', async (t) => {
  const first = await host.sandbox(t)
  await first.files.write('note', 'left by the first')

  const second = await Sandbox.connect(first.sandboxId)

  assert.equal(second.sandboxId, first.sandboxId)
  assert.equal(await second.files.read('note'), 'left by the first')
  await assert.rejects(Sandbox.connect('inonesuch0000000000000'), SandboxNotFoundError)
})

test('its info says what it is', async (t) => {
  const sandbox = await host.sandbox(t, { metadata: { owner: 'ä/&= %' }, timeoutMs: 90_000 })

  const info = await sandbox.getInfo()

  assert.equal(info.sandboxId, sandbox.sandboxId)
  assert.deepEqual(info.metadata, { owner: 'ä/&= %' })
  assert.equal(info.state, 'running')
  assert.equal(info.endAt - info.startedAt, 90_000)
  assert.ok(info.cpuCount >= 1 && info.memoryMB >= 64)
})

test('the list has pages and is filtered by metadata', async (t) => {
  const made = []
  for (let i = 0; i < 3; i++) made.push(await host.sandbox(t, { metadata: { 'group 1': 'a/b', number: String(i) } }))
  await host.sandbox(t, { metadata: { 'group 1': 'other' } })

  const pages = Sandbox.list({ query: { metadata: { 'group 1': 'a/b' } }, limit: 2 })
  const first = await pages.nextItems()
  assert.equal(first.length, 2)
  assert.equal(pages.hasNext, true)
  const second = await pages.nextItems()
  assert.equal(second.length, 1)
  assert.equal(pages.hasNext, false)

  assert.deepEqual([...first, ...second].map((s) => s.sandboxId).sort(), made.map((s) => s.sandboxId).sort())
  const one = await Sandbox.list({ query: { metadata: { number: '1' } } }).nextItems()
  assert.deepEqual(one.map((s) => s.sandboxId), [made[1].sandboxId])
})

test('its time is prolonged and shortened, and ends it', async () => {
  const sandbox = await Sandbox.create({ timeoutMs: 60_000 })
  await sandbox.setTimeout(200_000)
  const { endAt } = await sandbox.getInfo()
  assert.ok(Math.abs(endAt - Date.now() - 200_000) < 10_000)

  await sandbox.setTimeout(1_000)

  await eventually(async () => !(await sandbox.isRunning()), 'the sandbox ends with its time')
  await Sandbox.kill(sandbox.sandboxId) // returns when it is gone, not merely going; until then a change is a conflict
  await assert.rejects(sandbox.setTimeout(1_000), SandboxNotFoundError)
})

test('one over the limit is refused, and the slot of a killed one is free at once', async () => {
  const made = await Promise.all(Array.from({ length: 6 }, () => Sandbox.create()))

  await assert.rejects(Sandbox.create(), (error) => error instanceof RateLimitError && /concurrent.*\(6\)/.test(error.message))

  await made[0].kill()
  made[0] = await Sandbox.create()
  assert.equal((await Sandbox.list().nextItems()).length, 6)
  assert.deepEqual(await Promise.all(made.map((s) => s.kill())), Array(6).fill(true))
  assert.equal((await Sandbox.list().nextItems()).length, 0)
})

test('a wrong key is refused by its kind of error', async () => {
  await assert.rejects(Sandbox.create({ apiKey: 'e2b_' + '0'.repeat(40) }), AuthenticationError)
})

test('a template that is not there is named', async () => {
  await assert.rejects(Sandbox.create('no-such-template'), /no-such-template/)
})
