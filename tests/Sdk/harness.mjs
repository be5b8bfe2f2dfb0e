// Starts `interpreter-kernel serve` for a file of tests, points E2B's SDKs at it by their own variables, and checks at
// the end that nothing of it is left.
//
//   IK_TEST_EXECUTABLE   another build than out/interpreter-kernel/interpreter-kernel
//   IK_TEST_KEEP=1       shows what the host wrote, also when all went well
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Sandbox } from 'e2b'

const here = path.dirname(fileURLToPath(import.meta.url))
const executable = process.env.IK_TEST_EXECUTABLE ?? path.join(here, '../../out/interpreter-kernel/interpreter-kernel')
const startPatience = 30_000
const stopPatience = 15_000

/** Registers a host that lives as long as the tests of the calling file. Options are more arguments of `serve`. */
export function useHost(...options) {
  const host = new Host(options)
  before(() => host.start())
  after(() => host.stop())
  return host
}

/** Waits until `probe` gives something true, which it returns. The one place where tests poll, always with an end. */
export async function eventually(probe, what, milliseconds = 10_000) {
  const end = Date.now() + milliseconds
  for (;;) {
    const value = await probe()
    if (value) return value
    assert.ok(Date.now() < end, `${what}: not within ${milliseconds} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

class Host {
  #options
  #process
  #exited
  #written = ''
  #directory
  #traces

  constructor(options) {
    this.#options = options
  }

  /** Where it listens, such as http://127.0.0.1:4711. */
  url

  /** The key that it wants to see. */
  key = 'e2b_' + randomBytes(20).toString('hex')

  async start() {
    assert.ok(fs.existsSync(executable), `${executable} is not there: run scripts/build.sh, or set IK_TEST_EXECUTABLE`)
    this.#directory = fs.mkdtempSync(path.join(os.tmpdir(), 'ik-sdk-'))
    const keyFile = path.join(this.#directory, 'key')
    fs.writeFileSync(keyFile, this.key + '\n', { mode: 0o600 })
    const runtime = path.join(this.#directory, 'run')
    fs.mkdirSync(runtime, { mode: 0o700 })

    // Nothing of the caller's configuration may choose another host or key.
    const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(E2B_|INTERPRETER_KERNEL_)/.test(name)))
    Object.assign(environment, {
      INTERPRETER_KERNEL_RUNTIME_DIR: runtime,
      INTERPRETER_KERNEL_CACHE_DIR: path.join(this.#directory, 'cache'),
      XDG_CONFIG_HOME: path.join(this.#directory, 'config'),
    })
    this.#process = spawn(executable, ['serve', '--listen', 'http://127.0.0.1:0', '--api-key-file', keyFile, ...this.#options], {
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#exited = new Promise((resolve) => this.#process.once('exit', (code, signal) => resolve(signal ?? code)))
    this.#process.stderr.setEncoding('utf8').on('data', (text) => (this.#written += text))
    this.url = await this.#address()
    this.#traces = traces(path.join(runtime, 'serve-0'))

    for (const name of Object.keys(process.env)) if (name.startsWith('E2B_')) delete process.env[name]
    Object.assign(process.env, { E2B_API_URL: this.url, E2B_SANDBOX_URL: this.url, E2B_API_KEY: this.key })
  }

  /** A sandbox of this test alone, killed when the test ends. */
  async sandbox(test, options = {}) {
    const sandbox = await Sandbox.create(options)
    test.after(() => sandbox.kill())
    return sandbox
  }

  /** What of sandboxes can be seen on the machine: processes, cgroups, directories. */
  left() {
    return this.#traces()
  }

  async stop() {
    if (!this.#process) return
    this.#process.kill('SIGTERM')
    const guard = setTimeout(() => this.#process.kill('SIGKILL'), stopPatience)
    const exit = await this.#exited
    clearTimeout(guard)
    if (process.env.IK_TEST_KEEP) process.stderr.write(this.#written)
    assert.equal(exit, 0, `serve ended with ${exit}; it wrote:\n${this.#written}`)
    assert.doesNotMatch(this.#written, /failed to handle|Unhandled exception/i, 'the host had a fault of its own')
    assert.deepEqual(await this.#settled(), [], 'left behind by the host')
    assert.deepEqual(fs.readdirSync(path.join(this.#directory, 'run')).filter((name) => name.startsWith('serve-')), [])
    fs.rmSync(this.#directory, { recursive: true })
  }

  /** A process that was just killed may be seen for a moment longer. */
  async #settled() {
    for (let i = 0; i < 50 && this.left().length > 0; i++) await new Promise((resolve) => setTimeout(resolve, 20))
    return this.left()
  }

  #address() {
    return new Promise((resolve, reject) => {
      let printed = ''
      const guard = setTimeout(() => reject(new Error(`serve printed no address within ${startPatience} ms:\n${this.#written}`)), startPatience)
      const settle = (action, value) => {
        clearTimeout(guard)
        action(value)
      }
      this.#process.stdout.setEncoding('utf8').on('data', (text) => {
        printed += text
        const found = printed.match(/Serving sandboxes on (\S+)\n/)
        if (found) settle(resolve, found[1])
      })
      this.#process.once('error', (error) => settle(reject, error))
      this.#exited.then((code) => settle(reject, new Error(`serve ended with ${code}:\n${this.#written}`)))
    })
  }
}

/** A function that lists what the host of that state directory has on this machine (its names carry a hash of the path). */
function traces(stateDirectory) {
  const hash = createHash('sha256').update(stateDirectory).digest('hex').slice(0, 16)
  const entries = (directory) => {
    try {
      return fs.readdirSync(directory)
    } catch {
      return [] // it went away, or is not ours to read
    }
  }
  const text = (file) => {
    try {
      return fs.readFileSync(file, 'utf8')
    } catch {
      return ''
    }
  }
  return () => {
    const containers = `/run/interpreter-kernel-host/${hash}/sandboxes`
    const cgroups = ['/sys/fs/cgroup', ...entries('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}`)]
      .flatMap((top) => entries(top).filter((name) => name.startsWith('interpreter-kernel-')).map((name) => `${top}/${name}`))
      .filter((name) => name.includes(hash))
      .flatMap((name) => entries(name).filter((child) => fs.existsSync(`${name}/${child}/cgroup.procs`)).map((child) => `${name}/${child}`))
    const processes = entries('/proc')
      .filter((name) => /^\d+$/.test(name) && text(`/proc/${name}/cgroup`).includes(hash))
      .map((name) => `process ${name} ${text(`/proc/${name}/cmdline`).replaceAll('\0', ' ')}`)
    return [...entries(containers).map((name) => `${containers}/${name}`), ...cgroups, ...processes]
  }
}
