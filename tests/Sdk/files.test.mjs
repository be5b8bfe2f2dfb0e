import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AuthenticationError, FileNotFoundError, FileType } from 'e2b'
import { useHost } from './harness.mjs'

const host = useHost()
const noise = (length) => new Uint8Array(length).map((_, i) => (i * 7919) >> 3)

/** A stream that gives its pieces one after the other. */
function streamOf(...pieces) {
  return new ReadableStream({
    pull(controller) {
      const piece = pieces.shift()
      if (piece === undefined) controller.close()
      else controller.enqueue(piece)
    },
  })
}

test('text, bytes, blobs, streams and empty files come back as they went in', async (t) => {
  const { files } = await host.sandbox(t)
  const bytes = noise(300_000)

  const { name, path, type } = await files.write('deep/er/text', 'zwölf\0\n')
  assert.deepEqual([name, path, type], ['text', '/home/user/deep/er/text', FileType.FILE])
  await files.write('/tmp/bytes', bytes.buffer)
  await files.write('/tmp/blob', new Blob([bytes, 'end']))
  await files.write('/tmp/stream', streamOf(bytes.subarray(0, 1000), bytes.subarray(1000)))
  await files.write('/tmp/empty', '')

  assert.equal(await files.read('/home/user/deep/er/text'), 'zwölf\0\n')
  assert.deepEqual(await files.read('/tmp/bytes', { format: 'bytes' }), bytes)
  assert.equal((await files.read('/tmp/blob', { format: 'blob' })).size, bytes.length + 3)
  assert.deepEqual(new Uint8Array(await new Response(await files.read('/tmp/stream', { format: 'stream' })).arrayBuffer()), bytes)
  assert.equal(await files.read('/tmp/empty'), '')
  assert.equal((await files.read('/tmp/empty', { format: 'bytes' })).length, 0)
})

test('many files go up in one call, by either way', async (t) => {
  const sandbox = await host.sandbox(t)
  for (const options of [{}, { useOctetStream: true }]) {
    const written = await sandbox.files.write(
      [
        { path: 'one', data: 'first' },
        { path: '/tmp/two', data: noise(10).buffer },
        { path: 'dir/three', data: new Blob(['third']) },
      ],
      options,
    )

    assert.deepEqual(written.map((f) => f.path), ['/home/user/one', '/tmp/two', '/home/user/dir/three'])
    assert.equal((await sandbox.commands.run('cat one dir/three && stat -c %s /tmp/two && rm -r one dir')).stdout, 'firstthird10\n')
  }
})

test('gzip packs the way up and the way down', async (t) => {
  const sandbox = await host.sandbox(t)
  const text = 'the same again '.repeat(50_000)

  await sandbox.files.write('packed', text, { gzip: true })

  assert.equal((await sandbox.commands.run('stat -c %s packed')).stdout, `${text.length}\n`)
  assert.equal(await sandbox.files.read('packed', { gzip: true }), text)
  assert.equal(await sandbox.files.read('packed'), text)
})

test('metadata of a file stay with it', async (t) => {
  const { files } = await host.sandbox(t)

  const written = await files.write('f', 'x', { metadata: { author: 'A. Turing', 'content-kind': 'note=1' } })

  assert.deepEqual(written.metadata, { author: 'A. Turing', 'content-kind': 'note=1' })
  assert.deepEqual((await files.getInfo('f')).metadata, written.metadata)
  assert.deepEqual((await files.list('.')).find((e) => e.name === 'f').metadata, written.metadata)
  await files.write('f', 'y')
  assert.equal((await files.getInfo('f')).metadata, undefined)
})

test('a signed address reads and writes without a key, for one file, one way and its time', async (t) => {
  const sandbox = await host.sandbox(t)
  await host.sandbox(t) // the address names no sandbox: it must be told from this one
  await sandbox.files.write('a file', 'by the SDK')
  const download = await sandbox.downloadUrl('a file')
  const upload = await sandbox.uploadUrl('new', { useSignatureExpiration: 60 })

  assert.equal(await (await fetch(download)).text(), 'by the SDK')
  const form = new FormData()
  form.append('file', new Blob(['by a form']), 'ignored')
  assert.equal((await fetch(upload, { method: 'POST', body: form })).status, 200)
  assert.equal(await sandbox.files.read('new'), 'by a form')

  const changed = (url, name, value) => {
    const other = new URL(url)
    other.searchParams.set(name, value)
    return other
  }
  for (const [url, method] of [
    [changed(download, 'path', 'new'), 'GET'],
    [changed(download, 'signature', 'v1_' + 'A'.repeat(43)), 'GET'],
    [download, 'POST'],
    [upload, 'GET'],
    [changed(upload, 'signature_expiration', '99999999999'), 'POST'],
  ]) {
    const answer = await fetch(url, { method, body: method === 'POST' ? form : undefined })
    assert.deepEqual([answer.status, (await answer.json()).code], [401, 401], String(url))
  }

  const late = await fetch(await sandbox.downloadUrl('a file', { useSignatureExpiration: -1 }))
  assert.deepEqual([late.status, (await late.json()).message], [401, 'signature is already expired'])
})

test('a part of a file is read by its range', async (t) => {
  const sandbox = await host.sandbox(t)
  await sandbox.files.write('f', '0123456789')
  const url = await sandbox.downloadUrl('f')
  const get = async (headers) => {
    const answer = await fetch(url, { headers })
    return [answer.status, answer.headers.get('content-range'), await answer.text()]
  }

  assert.deepEqual(await get({ range: 'bytes=2-4' }), [206, 'bytes 2-4/10', '234'])
  assert.deepEqual(await get({ range: 'bytes=7-' }), [206, 'bytes 7-9/10', '789'])
  assert.deepEqual(await get({ range: 'bytes=-3' }), [206, 'bytes 7-9/10', '789'])
  assert.equal((await get({ range: 'bytes=10-' }))[0], 416)
  assert.deepEqual(await get({ range: 'lines=1-2' }), [200, null, '0123456789'])
  const changed = (await fetch(url)).headers.get('last-modified')
  assert.deepEqual(await get({ 'if-modified-since': changed }), [304, null, ''])
})

test('what can not be is its own kind of error', async (t) => {
  const { files, commands } = await host.sandbox(t)

  await assert.rejects(files.read('nonesuch'), FileNotFoundError)
  await assert.rejects(files.read('/tmp'), /directory/)
  await assert.rejects(files.write('/usr/bin/x', 'x'), /403/)
  await assert.rejects(files.write('f', 'x', { user: 'root' }), AuthenticationError)
  await assert.rejects(commands.run('true', { user: 'root' }), (error) => error instanceof AuthenticationError && /one user, 'user'/.test(error.message))
  assert.equal((await commands.run('whoami', { user: 'user' })).stdout, 'user\n')
})

test('an upload that is given up leaves the old content', async (t) => {
  const { files, commands } = await host.sandbox(t)
  await files.write('f', 'old')
  const abort = new AbortController()
  const endless = new ReadableStream({
    async pull(controller) {
      controller.enqueue(noise(100_000))
      await new Promise((resolve) => setTimeout(resolve, 10))
      if ((await files.list('.')).some((e) => e.name !== 'f')) abort.abort()
    },
  })

  await assert.rejects(files.write('f', endless, { signal: abort.signal, useOctetStream: true }))

  assert.equal(abort.signal.aborted, true)
  assert.equal(await files.read('f'), 'old')
  assert.equal((await commands.run('for i in $(seq 100); do [ "$(ls -A)" = f ] && exit; sleep 0.05; done; ls -A; exit 1')).exitCode, 0)
})
