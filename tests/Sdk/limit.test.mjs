import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RateLimitError, Sandbox } from 'e2b'
import { useHost } from './harness.mjs'

useHost('--limit', '20')

test('25 at once at a limit of 20 are 20 sandboxes and exactly 5 clean refusals', async () => {
  const settled = await Promise.allSettled(Array.from({ length: 25 }, () => Sandbox.create()))

  const refused = settled.filter((s) => s.status === 'rejected').map((s) => s.reason)
  assert.equal(refused.length, 5)
  for (const reason of refused) {
    assert.ok(reason instanceof RateLimitError)
    assert.match(reason.message, /maximum number of concurrent E2B sandboxes \(20\)/)
  }

  const made = settled.filter((s) => s.status === 'fulfilled').map((s) => s.value)
  assert.equal((await Sandbox.list().nextItems()).length, 20)
  assert.deepEqual(await Promise.all(made.map((s) => s.kill())), Array(20).fill(true))
  assert.equal((await Sandbox.list().nextItems()).length, 0)
})

test('a slot is free when kill has returned', async () => {
  const held = await Promise.all(Array.from({ length: 19 }, () => Sandbox.create()))
  for (let i = 0; i < 10; i++) {
    const last = await Sandbox.create() // refused if the slot of the one before were not free yet
    assert.equal(await last.kill(), true)
  }
  await Promise.all(held.map((s) => s.kill()))
})
