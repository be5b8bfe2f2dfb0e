import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CommandExitError, InvalidArgumentError, TimeoutError } from 'e2b'
import { eventually, useHost } from './harness.mjs'

const host = useHost()

test('a command runs with its directory and variables, and its output streams', async (t) => {
  const sandbox = await host.sandbox(t, { envs: { A: 'create', B: 'create' } })
  const seen = []

  const result = await sandbox.commands.run('pwd; echo "$A $B" >&2; printf ä', {
    cwd: '/tmp',
    envs: { B: 'call' },
    onStdout: (text) => seen.push(text),
    onStderr: (text) => seen.push('err:' + text),
  })

  assert.equal(result.exitCode, 0)
  assert.equal(result.stdout, '/tmp\nä')
  assert.equal(result.stderr, 'create call\n')
  assert.equal(seen.filter((text) => !text.startsWith('err:')).join(''), '/tmp\nä')
  assert.equal(seen.filter((text) => text.startsWith('err:')).join(''), 'err:create call\n')
})

test('an exit code other than zero is an error that carries all of it', async (t) => {
  const sandbox = await host.sandbox(t)

  await assert.rejects(sandbox.commands.run('echo out; echo err >&2; exit 7'), (error) => {
    assert.ok(error instanceof CommandExitError)
    assert.deepEqual([error.exitCode, error.stdout, error.stderr, error.error], [7, 'out\n', 'err\n', 'exit status 7'])
    return true
  })
  await assert.rejects(sandbox.commands.run('true', { cwd: '/nonesuch' }), InvalidArgumentError)
})

test('large output comes whole and in order', async (t) => {
  const sandbox = await host.sandbox(t)

  const { stdout } = await sandbox.commands.run('seq 300000')

  assert.equal(stdout, Array.from({ length: 300_000 }, (_, i) => `${i + 1}\n`).join(''))
})

test('a background command is listed, reads its input and ends with it', async (t) => {
  const sandbox = await host.sandbox(t)
  const command = await sandbox.commands.run('while read -r line; do echo "got $line"; done; echo over', { background: true, stdin: true })
  const listed = (await sandbox.commands.list()).find((p) => p.pid === command.pid)
  assert.deepEqual([listed.cmd, listed.args[0], listed.args[1]], ['/bin/bash', '-l', '-c'])

  await command.sendStdin('one\n')
  await sandbox.commands.sendStdin(command.pid, 'zwölf\n')
  await eventually(() => command.stdout === 'got one\ngot zwölf\n', 'the echo of the input')
  await sandbox.commands.closeStdin(command.pid)

  assert.equal((await command.wait()).stdout, 'got one\ngot zwölf\nover\n')
  assert.equal((await sandbox.commands.list()).length, 0)
})

test('a command is killed once', async (t) => {
  const sandbox = await host.sandbox(t)
  const command = await sandbox.commands.run('sleep 1000', { background: true })

  assert.equal(await command.kill(), true)

  await assert.rejects(command.wait(), (error) => error instanceof CommandExitError && error.error === 'signal: killed')
  assert.equal(await sandbox.commands.kill(command.pid), false)
  assert.equal(await sandbox.commands.kill(4_000_000), false)
})

test('a second client attaches to a running command and gets what follows', async (t) => {
  const sandbox = await host.sandbox(t)
  const first = await sandbox.commands.run('read -r line; echo "$line"; exit 3', { background: true, stdin: true })

  const second = await sandbox.commands.connect(first.pid)
  await first.sendStdin('for both\n')

  for (const command of [first, second]) {
    await assert.rejects(command.wait(), (error) => error.exitCode === 3 && error.stdout === 'for both\n')
  }
})

test('who disconnects leaves the command running', async (t) => {
  const sandbox = await host.sandbox(t)
  const command = await sandbox.commands.run('read -r line; echo "$line" > /tmp/done', { background: true, stdin: true, timeoutMs: 0 })

  await command.disconnect()
  await sandbox.commands.sendStdin(command.pid, 'later\n')

  await eventually(async () => (await sandbox.commands.run('cat /tmp/done || true')).stdout === 'later\n', 'the command goes on')
})

test('a command over its time is stopped and said to be', async (t) => {
  const sandbox = await host.sandbox(t)

  await assert.rejects(sandbox.commands.run('echo $$ > /tmp/pid; exec sleep 1000', { timeoutMs: 500 }), TimeoutError)

  const pid = (await sandbox.files.read('/tmp/pid')).trim()
  await eventually(async () => (await sandbox.commands.run(`kill -0 ${pid} 2>/dev/null; echo $?`)).stdout === '1\n', 'the process is gone')
})

test('commands run beside each other', async (t) => {
  const sandbox = await host.sandbox(t)

  const results = await Promise.all(Array.from({ length: 8 }, (_, i) => sandbox.commands.run(`sleep 0.2; echo ${i}`)))

  assert.deepEqual(results.map((r) => r.stdout), Array.from({ length: 8 }, (_, i) => `${i}\n`))
})
