import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FileNotFoundError, NotFoundError } from 'e2b'
import { eventually, useHost } from './harness.mjs'

const host = useHost()

/** Watches until the end of the test; `events` grows. */
async function watching(t, sandbox, path, options = {}) {
  const events = []
  const handle = await sandbox.files.watchDir(path, (event) => events.push(event), { timeoutMs: 0, ...options })
  t.after(() => handle.stop())
  const seen = (name, type) => events.some((e) => e.name === name && e.type === type)
  return { events, handle, seen, until: (name, type) => eventually(() => seen(name, type), `${type} of ${name}; there was ${JSON.stringify(events)}`) }
}

test('a write by the file service is seen as what it is', async (t) => {
  const sandbox = await host.sandbox(t)
  await sandbox.files.write('d/old', 'one')
  const watch = await watching(t, sandbox, 'd')

  await sandbox.files.write('d/old', 'two')
  await watch.until('old', 'write')
  await sandbox.files.write('d/new', 'x')
  await watch.until('new', 'create')
  await watch.until('new', 'write')

  assert.equal(watch.seen('old', 'create'), false)
  assert.deepEqual([...new Set(watch.events.map((e) => e.name))], ['old', 'new'])
})

test('each kind of change by a command is told', async (t) => {
  const sandbox = await host.sandbox(t)
  await sandbox.files.makeDir('d')
  const watch = await watching(t, sandbox, '/home/user/d')

  await sandbox.commands.run('cd d && echo 1 > f && chmod 600 f && mv f g && rm g')

  await watch.until('f', 'create')
  await watch.until('f', 'write')
  await watch.until('f', 'chmod')
  await watch.until('f', 'rename')
  await watch.until('g', 'create')
  await watch.until('g', 'remove')
})

test('a recursive watch sees below, also what is made later', async (t) => {
  const sandbox = await host.sandbox(t)
  await sandbox.files.makeDir('d/sub')
  const flat = await watching(t, sandbox, 'd')
  const deep = await watching(t, sandbox, 'd', { recursive: true })

  await sandbox.commands.run('cd d && touch sub/f && mkdir -p later/on && echo 1 > later/on/f && mv sub renamed && touch renamed/g && touch last')

  for (const name of ['sub/f', 'later', 'later/on', 'later/on/f', 'renamed', 'renamed/g']) await deep.until(name, 'create')
  await deep.until('sub', 'rename')
  await flat.until('last', 'create')
  assert.deepEqual(flat.events.filter((e) => e.name.includes('/')), [])
})

test('a stopped watch tells nothing more, and its process is gone', async (t) => {
  const sandbox = await host.sandbox(t)
  let exited
  const events = []
  const handle = await sandbox.files.watchDir('/home/user', (event) => events.push(event), { onExit: (error) => (exited = { error }) })

  await handle.stop()
  await eventually(() => exited, 'onExit')

  await sandbox.files.write('f', 'x')
  assert.deepEqual(events, [])
  await eventually(async () => (await sandbox.commands.run('ls /proc | grep -c "^[0-9]"')).stdout <= 4, 'only the agent and the command are left')
})

test('a watch over its time ends', async (t) => {
  const sandbox = await host.sandbox(t)
  let exited
  await sandbox.files.watchDir('/home/user', () => {}, { timeoutMs: 300, onExit: (error) => (exited = { error }) })

  await eventually(() => exited, 'onExit')
})

test('what can not be watched is refused', async (t) => {
  const sandbox = await host.sandbox(t)
  await sandbox.files.write('file', '')

  await assert.rejects(sandbox.files.watchDir('nonesuch', () => {}), (e) => e instanceof FileNotFoundError || e instanceof NotFoundError)
  await assert.rejects(sandbox.files.watchDir('file', () => {}), /not a directory/)
})
