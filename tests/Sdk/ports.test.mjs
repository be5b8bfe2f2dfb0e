import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { WebSocket } from 'undici'
import { useHost } from './harness.mjs'

const host = useHost()

// A web server as somebody would write it: on loopback, with a page, an upload and a WebSocket.
const server = `
import asyncio, sys
import tornado.web, tornado.websocket
class Page(tornado.web.RequestHandler):
    def get(self, name): self.write({"path": self.request.uri, "host": self.request.host, "mine": self.request.headers.get("X-Mine")})
    def post(self, name): self.set_status(201); self.write(self.request.body[::-1])
wanted = asyncio.Queue()
class Ticks(tornado.web.RequestHandler):
    async def get(self):
        for i in range(3):
            self.write("tick %d\\n" % i); await self.flush(); await wanted.get()
    async def post(self): await wanted.put(None)
class Echo(tornado.websocket.WebSocketHandler):
    def on_message(self, message): self.write_message(message if isinstance(message, str) else message[::-1], isinstance(message, bytes))
    def on_close(self): print("closed", self.close_code, flush=True)
async def main():
    tornado.web.Application([("/ws", Echo), ("/ticks", Ticks), ("/(.*)", Page)]).listen(8080, "127.0.0.1")
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
`

async function serve(t, options) {
  const sandbox = await host.sandbox(t, options)
  await sandbox.files.write('server.py', server)
  let written = ''
  const ready = new Promise((resolve) => (serve.seen = resolve))
  const command = await sandbox.commands.run('exec python3 server.py', {
    background: true,
    timeoutMs: 0,
    onStdout: (text) => (written += text).includes('ready') && serve.seen(),
  })
  command.wait().catch(() => {}) // it ends with its sandbox
  await ready
  return { sandbox, headers: { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '8080' }, output: () => written }
}

test('a web server inside answers by routing headers', async (t) => {
  const { headers } = await serve(t)

  const page = await fetch(`${host.url}/a%20b?c=d&e`, { headers: { ...headers, 'X-Mine': '1' } })
  assert.equal(page.status, 200)
  assert.deepEqual(await page.json(), { path: '/a%20b?c=d&e', host: new URL(host.url).host, mine: '1' })

  const answer = await fetch(host.url + '/upload', { method: 'POST', headers, body: 'abc' })
  assert.equal(answer.status, 201)
  assert.equal(await answer.text(), 'cba')
})

test('a web server inside answers by the host name that getHost gives', async (t) => {
  const { sandbox } = await serve(t)
  const name = sandbox.getHost(8080)
  assert.match(name, /^8080-[a-z0-9]+\./)

  const text = await new Promise((resolve, reject) => {
    const { hostname, port } = new URL(host.url)
    http.get({ hostname, port, path: '/x', headers: { Host: name } }, async (response) => resolve(await new Response(response).text())).on('error', reject)
  })

  assert.deepEqual(JSON.parse(text), { path: '/x', host: name, mine: null })
})

test('an answer arrives piece by piece', async (t) => {
  const { headers } = await serve(t)
  const reader = (await fetch(host.url + '/ticks', { headers })).body.getReader()

  for (let i = 0; i < 3; i++) { // the next is written when the one before has been seen
    assert.equal(new TextDecoder().decode((await reader.read()).value), `tick ${i}\n`)
    await fetch(host.url + '/ticks', { method: 'POST', headers })
  }
  assert.equal((await reader.read()).done, true)
})

test('a WebSocket goes through, text and bytes, and its end too', async (t) => {
  const { headers, output } = await serve(t)
  const socket = new WebSocket(host.url.replace('http', 'ws') + '/ws', { headers })
  socket.binaryType = 'arraybuffer'
  const next = () => new Promise((resolve, reject) => {
    socket.addEventListener('message', (event) => resolve(event.data), { once: true })
    socket.addEventListener('error', () => reject(new Error('the WebSocket failed')), { once: true })
  })
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve)
    socket.addEventListener('error', () => reject(new Error('no WebSocket')))
  })

  socket.send('grüße')
  assert.equal(await next(), 'grüße')
  const big = new Uint8Array(300_000).map((_, i) => i)
  socket.send(big)
  assert.deepEqual(new Uint8Array(await next()), big.slice().reverse())

  const closed = new Promise((resolve) => socket.addEventListener('close', resolve))
  socket.close(1000)
  assert.equal((await closed).code, 1000)
  for (let i = 0; i < 100 && !output().includes('closed'); i++) await new Promise((resolve) => setTimeout(resolve, 20))
  assert.match(output(), /closed 1000/)
})

test('a port where nobody listens, and a sandbox that is gone, are told apart', async (t) => {
  const sandbox = await host.sandbox(t)
  const ask = async (port) => {
    const answer = await fetch(host.url, { headers: { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': String(port) } })
    return [answer.status, await answer.json()]
  }

  assert.deepEqual(await ask(8081), [502, { sandboxId: sandbox.sandboxId, message: 'The sandbox is running but port is not open', code: 502, port: 8081 }])
  await sandbox.kill()
  assert.deepEqual(await ask(8081), [502, { sandboxId: sandbox.sandboxId, message: 'The sandbox was not found', code: 502 }])
})

test('ports that are not public want the traffic token', async (t) => {
  const { sandbox, headers } = await serve(t, { network: { allowPublicTraffic: false } })

  assert.equal((await fetch(host.url, { headers })).status, 403)
  assert.equal((await fetch(host.url, { headers: { ...headers, 'e2b-traffic-access-token': sandbox.trafficAccessToken } })).status, 200)
})
