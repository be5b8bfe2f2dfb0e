import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FileNotFoundError } from 'e2b'
import { useHost } from './harness.mjs'

const host = useHost()

test('text, bytes, blobs and empty files come back as they went in', async (t) => {
  const { files } = await host.sandbox(t)
  const bytes = new Uint8Array(300_000).map((_, i) => (i * 7919) >> 3)

  await files.write('deep/er/text', 'zwölf\0\n')
  await files.write('/tmp/bytes', bytes.buffer)
  await files.write('/tmp/blob', new Blob([bytes, 'end']))
  await files.write('/tmp/empty', '')

  assert.equal(await files.read('/home/user/deep/er/text'), 'zwölf\0\n')
  assert.deepEqual(await files.read('/tmp/bytes', { format: 'bytes' }), bytes)
  assert.equal((await files.read('/tmp/blob', { format: 'blob' })).size, bytes.length + 3)
  assert.equal(await files.read('/tmp/empty'), '')
  assert.equal((await files.read('/tmp/empty', { format: 'bytes' })).length, 0)
})

test('a file that is not there is its own kind of error', async (t) => {
  const { files } = await host.sandbox(t)

  await assert.rejects(files.read('nonesuch'), FileNotFoundError)
})
