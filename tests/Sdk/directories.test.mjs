import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FileNotFoundError, FileType, NotFoundError } from 'e2b'
import { useHost } from './harness.mjs'

const host = useHost()
const notFound = (error) => error instanceof FileNotFoundError || error instanceof NotFoundError

test('a directory is made with its parents, once', async (t) => {
  const { files } = await host.sandbox(t)

  assert.equal(await files.makeDir('a/b/c'), true)
  assert.equal(await files.makeDir('a/b/c'), false)

  assert.equal(await files.exists('/home/user/a/b'), true)
  await files.write('file', 'x')
  await assert.rejects(files.makeDir('file'), /not a directory/)
})

test('a listing has what is there, in order, to the depth that is asked for', async (t) => {
  const { files, commands } = await host.sandbox(t)
  await commands.run('mkdir -p top/sub/deep && echo 12345 > top/b && ln -s b top/a && ln -s nowhere top/c && touch top/sub/deep/z')

  // Of a link that leads nowhere envd says no type, and the SDK then leaves it out.
  const flat = await files.list('top')
  assert.deepEqual(flat.map((e) => [e.name, e.type, e.path]), [
    ['a', FileType.FILE, '/home/user/top/a'],
    ['b', FileType.FILE, '/home/user/top/b'],
    ['sub', FileType.DIR, '/home/user/top/sub'],
  ])
  assert.equal(flat[0].symlinkTarget, '/home/user/top/b')

  const deep = await files.list('top', { depth: 3 })
  assert.deepEqual(deep.map((e) => e.path.slice('/home/user/top/'.length)), ['a', 'b', 'sub', 'sub/deep', 'sub/deep/z'])
  assert.deepEqual((await files.list('top', { depth: 2 })).map((e) => e.name), ['a', 'b', 'sub', 'deep'])
})

test('the info of a file says all about it', async (t) => {
  const { files, commands } = await host.sandbox(t)
  await commands.run('mkdir d && mkdir -m 1777 sticky && printf 12345 > d/f && chmod 640 d/f && touch -d 2020-02-03T04:05:06.5Z d/f')

  const info = await files.getInfo('d/f')

  assert.deepEqual(
    [info.name, info.path, info.type, info.size, info.mode, info.permissions, info.owner, info.group],
    ['f', '/home/user/d/f', FileType.FILE, 5, 0o640, '-rw-r-----', 'user', 'user'],
  )
  assert.equal(info.modifiedTime.toISOString(), '2020-02-03T04:05:06.500Z')
  assert.equal((await files.getInfo('d')).permissions, 'drwxr-xr-x')
  assert.equal((await files.getInfo('sticky')).permissions, 'dtrwxrwxrwx')
  assert.equal((await files.getInfo('/')).path, '/')
})

test('a file or directory gets another name or place', async (t) => {
  const { files, commands } = await host.sandbox(t)
  await files.write('old/file', 'content')

  const moved = await files.rename('old', 'new')
  assert.equal(moved.path, '/home/user/new')
  assert.equal(await files.exists('old'), false)
  assert.equal(await files.read('new/file'), 'content')

  // The home and /tmp are two file systems; nobody who moves a file should have to know.
  await commands.run('cd new && chmod 600 file && ln -s file link && mkdir sub && chmod 500 sub')
  await files.rename('new', '/tmp/below/moved')
  assert.equal((await commands.run('cd /tmp/below/moved && cat file && readlink link && stat -c %a file sub')).stdout, 'contentfile\n600\n500\n')
  assert.equal(await files.exists('new'), false)

  await assert.rejects(files.rename('nonesuch', 'x'), notFound)
})

test('what is removed is gone with all that is in it, and links are not followed', async (t) => {
  const { files, commands } = await host.sandbox(t)
  await commands.run('mkdir -p keep d/e shut/in && touch keep/me d/e/f && ln -s ../keep d/link && chmod 0 shut')

  await files.remove('d')
  await files.remove('shut')
  await files.remove('nonesuch')

  assert.equal((await commands.run('ls')).stdout, 'keep\n')
  assert.equal(await files.exists('keep/me'), true)
})

test('what is not there is said to be not there', async (t) => {
  const { files } = await host.sandbox(t)

  assert.equal(await files.exists('nonesuch'), false)
  assert.equal(await files.exists('nonesuch/deeper'), false)
  await assert.rejects(files.getInfo('nonesuch'), notFound)
  await assert.rejects(files.list('nonesuch'), notFound)
  await files.write('file', '')
  await assert.rejects(files.list('file'), /not a directory/i)
})
