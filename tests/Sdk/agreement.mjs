// The table of operations that tests/Service.Tests/AgreementTests.cs has too, done with E2B's JavaScript SDK. Prints what
// each of them gave, by its name, as one JSON object; what differs from one sandbox to the next is left out.
import {
  AuthenticationError, CommandExitError, InvalidArgumentError, NotFoundError, RateLimitError, Sandbox, TimeoutError,
} from 'e2b'

const kinds = [
  [CommandExitError, (e) => `exit ${e.exitCode}: ${e.stdout}|${e.stderr}`],
  [NotFoundError, () => 'not found'],
  [InvalidArgumentError, () => 'invalid'],
  [AuthenticationError, () => 'authentication'],
  [RateLimitError, () => 'limit'],
  [TimeoutError, () => 'timeout'],
]
const results = {}

/** One row: what it gives, or what kind of error. */
async function row(name, operation) {
  try {
    results[name] = (await operation()) ?? null
  } catch (error) {
    results[name] = 'error: ' + (kinds.find(([kind]) => error instanceof kind)?.[1](error) ?? 'other')
  }
}

const entry = (e) => ({ name: e.name, type: e.type ?? 'other', path: e.path, size: e.type === 'dir' ? 0 : e.size, mode: e.mode, permissions: e.permissions, owner: e.owner, group: e.group, target: e.symlinkTarget ?? null })
const ran = (r) => `exit ${r.exitCode}: ${r.stdout}|${r.stderr}`
const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 31) & 255)
const sum = (data) => data.reduce((total, byte) => (total * 31 + byte) % 1_000_003, 7)

const sandbox = await Sandbox.create({ metadata: { table: 'agreement ä&=' }, envs: { FROM: 'create' }, timeoutMs: 120_000 })
const { commands, files } = sandbox
try {
  // Commands.
  await row('run', async () => ran(await commands.run('echo out; echo err >&2')))
  await row('run exit 7', async () => ran(await commands.run('echo out; echo err >&2; exit 7')))
  await row('run killed', async () => ran(await commands.run('kill -9 $$')))
  await row('run not found', async () => ran(await commands.run('nonesuch 2>/dev/null')))
  await row('run envs', async () => ran(await commands.run('echo $FROM $CALL', { envs: { CALL: 'zwölf' } })))
  await row('run cwd', async () => ran(await commands.run('pwd', { cwd: '/tmp' })))
  await row('run cwd missing', async () => ran(await commands.run('pwd', { cwd: '/nonesuch' })))
  await row('run timeout', async () => ran(await commands.run('sleep 30', { timeoutMs: 500 })))
  await row('run characters', async () => ran(await commands.run("printf '\\303'; sleep 0.05; printf '\\244'")))
  await row('run long', async () => (await commands.run('seq 100000')).stdout.length)
  await row('run in home', async () => ran(await commands.run('pwd; whoami')))
  let background
  await row('background', async () => {
    background = await commands.run('cat', { background: true, stdin: true })
    return background.pid > 0
  })
  await row('list', async () => (await commands.list()).filter((p) => p.pid === background.pid).length)
  await row('input', async () => {
    await commands.sendStdin(background.pid, 'zwölf\n')
    await commands.closeStdin(background.pid)
    return ran(await background.wait())
  })
  await row('kill command', async () => {
    const command = await commands.run('sleep 60', { background: true })
    return [await command.kill(), await commands.kill(command.pid + 10_000)]
  })
  await row('connect unknown', async () => ran(await (await commands.connect(999_999)).wait()))
  await row('connect', async () => {
    const command = await commands.run('sleep 0.3; echo later', { background: true })
    return ran(await (await commands.connect(command.pid)).wait())
  })

  // Files.
  await row('write', async () => void (await files.write('text.txt', 'zwölf\n')))
  await row('read', () => files.read('text.txt'))
  await row('write bytes', async () => void (await files.write('/tmp/deep/er/bytes', bytes.buffer)))
  await row('read bytes', async () => sum(await files.read('/tmp/deep/er/bytes', { format: 'bytes' })))
  await row('write empty', async () => void (await files.write('empty', '')))
  await row('read empty', () => files.read('empty'))
  await row('write many', async () => void (await files.write([{ path: '/tmp/many/a', data: 'A' }, { path: '/tmp/many/b c', data: 'B' }])))
  await row('read many', async () => [await files.read('/tmp/many/a'), await files.read('/tmp/many/b c')])
  await row('read missing', () => files.read('nonesuch'))
  await row('read directory', () => files.read('/tmp'))
  await row('write over directory', async () => void (await files.write('/tmp', 'x')))
  await row('write where not allowed', async () => void (await files.write('/usr/x', 'x')))
  await row('exists', async () => [await files.exists('text.txt'), await files.exists('nonesuch'), await files.exists('/tmp')])
  await row('info file', async () => entry(await files.getInfo('text.txt')))
  await row('info directory', async () => entry(await files.getInfo('/tmp/many')))
  await row('info missing', async () => entry(await files.getInfo('nonesuch')))
  await row('info link', async () => {
    await commands.run('ln -s /tmp/many/a link; ln -s nowhere broken')
    return [entry(await files.getInfo('link')), entry(await files.getInfo('broken'))]
  })
  await row('list directory', async () => (await files.list('/tmp/deep')).map(entry))
  await row('list deep', async () => (await files.list('/tmp/deep', { depth: 3 })).map((e) => e.path))
  await row('list missing', async () => (await files.list('/tmp/nonesuch')).length)
  await row('list file', async () => (await files.list('text.txt')).length)
  await row('make directory', async () => [await files.makeDir('/tmp/new/er'), await files.makeDir('/tmp/new/er')])
  await row('make directory over file', () => files.makeDir('text.txt'))
  await row('rename', async () => entry(await files.rename('text.txt', '/tmp/elsewhere/renamed')))
  await row('rename missing', async () => entry(await files.rename('nonesuch', 'x')))
  await row('remove', async () => {
    await files.remove('/tmp/deep')
    return files.exists('/tmp/deep')
  })
  await row('remove missing', async () => void (await files.remove('/tmp/deep')))
  await row('watch', async () => {
    const seen = []
    const watch = await files.watchDir('/tmp/new', (event) => seen.push(`${event.type} ${event.name}`), { recursive: true })
    await files.makeDir('/tmp/new/w')
    await files.write('/tmp/new/er/file', '1')
    await files.remove('/tmp/new/er/file')
    for (let i = 0; i < 200 && !seen.includes('remove er/file'); i++) await new Promise((resolve) => setTimeout(resolve, 20))
    await watch.stop()
    return ['create w', 'remove er/file'].map((event) => seen.includes(event))
  })
  await row('watch missing', () => files.watchDir('/tmp/nonesuch', () => {}).then(() => 'watching'))
  await row('signed download', async () => {
    await files.write('/tmp/signed', 'by url')
    return (await fetch(await sandbox.downloadUrl('/tmp/signed'))).text()
  })

  // The sandbox.
  await row('info', async () => {
    const info = await sandbox.getInfo()
    return { state: info.state, metadata: info.metadata.table, template: info.templateId, seconds: Math.round((info.endAt - info.startedAt) / 1000) }
  })
  await row('list sandboxes', async () => {
    const found = await Sandbox.list({ query: { metadata: { table: 'agreement ä&=' } } }).nextItems()
    return found.filter((s) => s.sandboxId === sandbox.sandboxId).length
  })
  await row('set timeout', async () => {
    await sandbox.setTimeout(45_000)
    const left = ((await sandbox.getInfo()).endAt - Date.now()) / 1000
    return left > 40 && left < 46
  })
  await row('metrics', async () => Array.isArray(await sandbox.getMetrics()))
  await row('host', async () => sandbox.getHost(8080).replace(sandbox.sandboxId, 'ID'))
  await row('is running', () => sandbox.isRunning())
  await row('pause', async () => [await sandbox.pause(), await Sandbox.pause(sandbox.sandboxId)])
  await row('info paused', async () => (await sandbox.getInfo()).state)
  await row('resume', async () => {
    await Sandbox.connect(sandbox.sandboxId)
    return ran(await commands.run('cat empty; echo back'))
  })
  await row('connect to unknown', async () => void (await Sandbox.connect('inonesuch0000000000000')))
  await row('info of unknown', async () => void (await Sandbox.getInfo('inonesuch0000000000000')))
  await row('wrong key', async () => void (await Sandbox.create({ apiKey: 'e2b_' + '0'.repeat(40) })))
  await row('kill', async () => [await sandbox.kill(), await Sandbox.kill(sandbox.sandboxId)])
  await row('is running after', () => sandbox.isRunning())
  await row('run after', async () => ran(await commands.run('true')).replace('timeout', 'not found'))
} finally {
  await sandbox.kill()
}
process.stdout.write(JSON.stringify(results))
