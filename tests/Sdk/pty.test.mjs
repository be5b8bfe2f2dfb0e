import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CommandExitError, TimeoutError } from 'e2b'
import { eventually, useHost } from './harness.mjs'

const host = useHost()

/** A terminal whose shown text gathers. */
async function terminal(t, options = {}) {
  const sandbox = await host.sandbox(t)
  const shown = { text: '' }
  const decoder = new TextDecoder()
  const handle = await sandbox.pty.create({
    cols: 100,
    rows: 30,
    onData: (data) => (shown.text += decoder.decode(data, { stream: true })),
    ...options,
  })
  const type = (text) => sandbox.pty.sendInput(handle.pid, new TextEncoder().encode(text))
  const until = (what) => eventually(() => (typeof what === 'string' ? shown.text.includes(what) : what.test(shown.text)), `${what} in ${JSON.stringify(shown.text)}`)
  return { sandbox, handle, shown, type, until }
}

test('a terminal echoes, runs and ends', async (t) => {
  const { sandbox, handle, type, until } = await terminal(t, { envs: { NAME: 'zwölf' }, cwd: '/tmp' })

  await type('echo "<$NAME>" $((40+2)); pwd; tty; [ -t 0 ] && echo real\n')
  await until('<zwölf> 42')
  await until('\r\n/tmp\r\n')
  await until(/\/dev\/pts\/\d+\r\n/)
  await until('real')
  assert.equal((await sandbox.commands.list()).length, 1)

  await type('exit 5\n')
  await assert.rejects(handle.wait(), (error) => error instanceof CommandExitError && error.exitCode === 5)
  assert.equal((await sandbox.commands.list()).length, 0)
})

test('its size is what was asked for, and changes', async (t) => {
  const { sandbox, handle, type, until } = await terminal(t)

  await type("stty size; trap 'echo resized' WINCH\n")
  await until('30 100')
  await sandbox.pty.resize(handle.pid, { cols: 132, rows: 43 })
  await until(/resized\r\n/)
  await type('stty size\n')
  await until('43 132')
})

test('control-C interrupts the program in the foreground, not the shell', async (t) => {
  const { type, until } = await terminal(t)

  await type("python3 -c 'import time\nprint(\"be\" + \"gin\", flush=True)\ntime.sleep(1000)'\n")
  await until('begin')
  await type('\x03')
  await until('KeyboardInterrupt')
  await type('echo st\'\'ill here\n')
  await until('still here')
})

test('control-D ends it', async (t) => {
  const { handle, type, until } = await terminal(t)
  await type('echo rea\'\'dy\n')
  await until('ready')

  await type('\x04')

  assert.equal((await handle.wait()).exitCode, 0)
})

test('a second client attaches to it', async (t) => {
  const { sandbox, handle, type } = await terminal(t)
  let text = ''
  const second = await sandbox.pty.connect(handle.pid, { onData: (data) => (text += Buffer.from(data).toString()) })

  await type('echo for bo\'\'th\n')
  await eventually(() => text.includes('for both'), 'output at the second')

  assert.equal(await sandbox.pty.kill(handle.pid), true)
  for (const one of [handle, second]) await assert.rejects(one.wait(), (error) => error.error === 'signal: killed')
  assert.equal(await sandbox.pty.kill(handle.pid), false)
})

test('what runs in its foreground goes with it', async (t) => {
  const { sandbox, handle, type, until } = await terminal(t)
  await type('(echo star\'\'ted; sleep 1234) | cat\n')
  await until('started')

  await sandbox.pty.kill(handle.pid)

  await eventually(async () => (await sandbox.commands.run('pgrep -c "sleep|cat|bash" || true')).stdout <= 1, 'only the shell that asks is left')
})

test('much output comes whole', async (t) => {
  const { shown, type, until } = await terminal(t)

  await type("stty -opost; seq 200000; echo en''d\n")
  await until('end')

  const numbers = shown.text.match(/^\d+$/gm)
  assert.equal(numbers.length, 200_000)
  assert.equal(numbers.at(-1), '200000')
})

test('a terminal over its time is stopped', async (t) => {
  const { handle } = await terminal(t, { timeoutMs: 500 })

  await assert.rejects(handle.wait(), TimeoutError)
})
