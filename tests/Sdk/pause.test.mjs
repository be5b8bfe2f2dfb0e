import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RateLimitError, Sandbox, SandboxNotFoundError } from 'e2b'
import { eventually, useHost } from './harness.mjs'

const host = useHost('--limit', '3')

test('a process survives a pause', async (t) => {
  const sandbox = await host.sandbox(t)
  const command = await sandbox.commands.run('i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.02; done', { background: true, timeoutMs: 0 })
  const ended = assert.rejects(command.wait())

  assert.equal(await sandbox.pause(), true)
  await ended
  assert.equal(await sandbox.pause(), false)
  assert.equal((await sandbox.getInfo()).state, 'paused')
  assert.equal(await sandbox.isRunning(), false)
  const paused = await Sandbox.list({ query: { state: ['paused'] } }).nextItems()
  assert.deepEqual(paused.map((s) => s.sandboxId), [sandbox.sandboxId])
  assert.deepEqual(await Sandbox.list({ query: { state: ['running'] } }).nextItems(), [])

  const again = await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 60_000 })
  assert.deepEqual((await again.commands.list()).map((p) => p.pid), [command.pid])
  const before = Number(await again.files.read('/tmp/count'))
  await eventually(async () => Number(await again.files.read('/tmp/count')) > before, 'the process goes on')
  assert.ok((await again.getInfo()).endAt - Date.now() < 61_000)
})

test('a paused sandbox holds no slot, needs one to come back, and can be killed', async () => {
  const first = await Sandbox.create()
  await first.pause()
  const others = await Promise.all(Array.from({ length: 3 }, () => Sandbox.create()))
  await assert.rejects(first.connect(), RateLimitError)
  await assert.rejects(first.setTimeout(10_000), SandboxNotFoundError)

  await others[0].kill()
  await first.connect()
  assert.equal((await first.commands.run('echo back')).stdout, 'back\n')
  await first.pause()
  assert.equal(await first.kill(), true)
  assert.equal(await first.kill(), false)
  await Promise.all(others.slice(1).map((s) => s.kill()))
})

test('at the end of its time it is paused when that was asked for, and traffic wakes it', async (t) => {
  const sandbox = await host.sandbox(t, { timeoutMs: 1_000, lifecycle: { onTimeout: 'pause', autoResume: true } })
  await eventually(async () => (await sandbox.getInfo()).state === 'paused', 'it is paused')

  assert.equal((await sandbox.commands.run('echo awake')).stdout, 'awake\n')

  assert.equal((await sandbox.getInfo()).state, 'running')
})

test('what this host has not is refused in words', async (t) => {
  const sandbox = await host.sandbox(t)

  await assert.rejects(sandbox.createSnapshot(), /not supported/)
  await assert.rejects(Sandbox.create({ network: { allowOut: ['1.1.1.1'] } }), /reach no network/)
  await sandbox.updateNetwork?.({ denyOut: ['0.0.0.0/0'] })
})

test('metrics are real figures', async (t) => {
  const sandbox = await host.sandbox(t)
  await sandbox.commands.run('head -c 30000000 /dev/urandom > big; timeout 1 sh -c "while :; do :; done"; true')

  const [metric] = await sandbox.getMetrics()

  assert.ok(metric.cpuCount >= 1)
  assert.ok(metric.cpuUsedPct > 5 && metric.cpuUsedPct <= 120, `cpu ${metric.cpuUsedPct}`)
  assert.ok(metric.memUsed >= 30_000_000 && metric.memUsed < metric.memTotal, `memory ${metric.memUsed}`)
  assert.ok(metric.diskUsed >= 30_000_000 && metric.diskUsed < metric.diskTotal, `disk ${metric.diskUsed}`)
})
