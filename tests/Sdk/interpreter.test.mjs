import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NotFoundError, Sandbox, SandboxError } from '@e2b/code-interpreter'
import { eventually, useHost } from './harness.mjs'

const host = useHost()

async function make(t, options) {
  const sandbox = await Sandbox.create(options)
  t.after(() => sandbox.kill())
  return sandbox
}

test('code runs, keeps its variables and counts its executions', async (t) => {
  const sandbox = await make(t)

  assert.equal((await sandbox.runCode('x = 1')).text, undefined)
  const { text, executionCount, results, logs } = await sandbox.runCode('print("ä"); x += 1; x')

  assert.equal(text, '2')
  assert.equal(executionCount, 2)
  assert.equal(results.length, 1)
  assert.equal(results[0].isMainResult, true)
  assert.deepEqual(logs, { stdout: ['ä\n'], stderr: [] })
})

test('1+1 is quick once the kernel runs', async (t) => {
  const sandbox = await make(t)
  const started = performance.now()
  await sandbox.runCode('1+1')
  const first = performance.now() - started

  // A delayed acknowledgement would cost every one of them 40 ms; what else the machine has to do never slows down all.
  let least = Infinity
  while (least >= 40 && performance.now() - started < 60_000) {
    const before = performance.now()
    await sandbox.runCode('1+1')
    least = Math.min(least, performance.now() - before)
  }
  t.diagnostic(`first ${first.toFixed(0)} ms, then ${least.toFixed(1)} ms`)
  assert.ok(least < 40, `least ${least} ms`)
})

test('a plot comes as an image', async (t) => {
  const sandbox = await make(t)
  const { results, error } = await sandbox.runCode(`
try:
    import matplotlib.pyplot as plt
    plt.plot([1, 2, 3])
    plt.show()
except ImportError:  # not in every template; then a picture made by hand
    import struct, zlib
    from IPython.display import Image, display
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\\0" + __import__("os").urandom(64) for _ in range(64))
    display(Image(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")))
`, { timeoutMs: 120_000 })

  assert.equal(error, undefined)
  const png = Buffer.from(results[0].png, 'base64')
  assert.equal(png.subarray(1, 4).toString(), 'PNG')
  assert.ok(png.length > 1000)
  assert.equal(results[0].isMainResult, false)
})

test('results of several kinds keep them all', async (t) => {
  const sandbox = await make(t)
  const { results } = await sandbox.runCode(`
from IPython.display import HTML, Markdown, JSON, Latex, SVG, Javascript, display
display(HTML("<b>h</b>"), Markdown("*m*"), JSON({"a": [1]}), Latex("$x$"), SVG("<svg xmlns='http://www.w3.org/2000/svg'/>"), Javascript("1"))
display({"application/x-own": "o"}, raw=True)
`)

  assert.equal(results[0].html, '<b>h</b>')
  assert.equal(results[1].markdown, '*m*')
  assert.deepEqual(results[2].json, { a: [1] })
  assert.equal(results[3].latex, '$x$')
  assert.match(results[4].svg, /<svg/)
  assert.equal(results[5].javascript, '1')
  assert.equal(results[6].extra['application/x-own'], 'o')
})

test('an error has its name, value and traceback', async (t) => {
  const sandbox = await make(t)
  const seen = []

  const { error, logs } = await sandbox.runCode('import sys\nprint("before", file=sys.stderr)\n{}["missing"]', { onError: (e) => seen.push(e.name) })

  assert.equal(error.name, 'KeyError')
  assert.equal(error.value, "'missing'")
  assert.match(error.traceback, /KeyError/)
  assert.deepEqual(logs.stderr, ['before\n'])
  assert.deepEqual(seen, ['KeyError'])
})

test('output streams while the code runs', async (t) => {
  const sandbox = await make(t)
  const seen = []

  // The code waits for a file that is written when its first line has come: all at its end would be never.
  await sandbox.runCode(`
import os, time
print("first", flush=True)
end = time.monotonic() + 30
while not os.path.exists("/tmp/seen"):
    assert time.monotonic() < end, "the first line was not seen while the code ran"
    time.sleep(0.01)
print("second", flush=True)
"done"`, {
    onStdout: async ({ line }) => {
      seen.push(line)
      if (line === 'first\n') await sandbox.files.write('/tmp/seen', '')
    },
    onResult: ({ text }) => seen.push(text),
    onError: ({ value }) => assert.fail(value),
  })

  assert.deepEqual(seen, ['first\n', 'second\n', 'done'])
})

test('variables of the environment: of the sandbox, and of one execution', async (t) => {
  const sandbox = await make(t, { envs: { A: 'sandbox' } })

  assert.equal((await sandbox.runCode('import os; os.environ["A"]')).text, 'sandbox')
  assert.equal((await sandbox.runCode('os.environ["A"] + os.environ["B"]', { envs: { A: 'one', B: 'two' } })).text, 'onetwo')
  assert.equal((await sandbox.runCode('os.environ["A"], os.environ.get("B")')).text, "('sandbox', None)")
})

test('contexts are apart, are listed, restarted and removed', async (t) => {
  const sandbox = await make(t)
  await sandbox.runCode('x = "default"')
  const context = await sandbox.createCodeContext({ cwd: '/tmp' })
  assert.deepEqual([context.language, context.cwd], ['python', '/tmp'])

  assert.equal((await sandbox.runCode('x', { context })).error.name, 'NameError')
  assert.equal((await sandbox.runCode('import os; y = 1; os.getcwd()', { context })).text, '/tmp')
  assert.deepEqual((await sandbox.listCodeContexts()).map((c) => c.cwd).sort(), ['/home/user', '/tmp'])
  await sandbox.restartCodeContext(context)
  assert.equal((await sandbox.runCode('y', { context })).error.name, 'NameError')
  assert.equal((await sandbox.runCode('x')).text, 'default')
  await sandbox.removeCodeContext(context.id)
  assert.equal((await sandbox.listCodeContexts()).length, 1)
  await assert.rejects(sandbox.runCode('1', { context }), NotFoundError)
})

test('contexts run beside each other, and one context in turns', async (t) => {
  const sandbox = await make(t)
  const contexts = [await sandbox.createCodeContext(), await sandbox.createCodeContext()]
  // Each waits for the other, which one after the other would never come.
  const meet = (mine, other) => `
import os, time
open("/tmp/${mine}", "w").close()
end = time.monotonic() + 30
while not os.path.exists("/tmp/${other}"):
    assert time.monotonic() < end, "alone"
    time.sleep(0.01)
"met"`
  const met = await Promise.all(contexts.map((context, i) => sandbox.runCode(meet(`context${i}`, `context${1 - i}`), { context })))
  assert.deepEqual(met.map(({ text, error }) => error ?? text), ['met', 'met'])

  const executions = await Promise.all(Array.from({ length: 5 }, (_, i) => sandbox.runCode(`print(${i})\n${i}`)))
  executions.forEach((execution, i) => assert.deepEqual([execution.text, execution.logs.stdout], [String(i), [`${i}\n`]]))
})

test('a timeout interrupts the code and leaves the variables', async (t) => {
  const sandbox = await make(t)
  await sandbox.runCode('kept = 5')

  await assert.rejects(sandbox.runCode('while True: pass', { timeoutMs: 800 }), /timed out/i)

  // Within its time only if the loop has ended.
  assert.equal((await sandbox.runCode('kept', { timeoutMs: 20_000 })).text, '5')
})

test('a language that is not there is a clear error', async (t) => {
  const sandbox = await make(t)
  await assert.rejects(sandbox.runCode('1', { language: 'cobol' }), SandboxError)
})

test('silent code is kept alive', async (t) => {
  const sandbox = await make(t)
  assert.equal((await sandbox.runCode('import time; time.sleep(6); "slept"')).text, 'slept')
})

test('the kernel survives a pause, files are shared with commands', async (t) => {
  const sandbox = await make(t)
  await sandbox.runCode('open("shared", "w").write("from code"); v = 1')
  assert.equal(await sandbox.files.read('shared'), 'from code')
  await sandbox.pause()
  await sandbox.connect()
  assert.equal((await sandbox.runCode('v')).text, '1')
  await eventually(async () => (await sandbox.commands.list()).length === 0, 'no process of ours in the list')
})
