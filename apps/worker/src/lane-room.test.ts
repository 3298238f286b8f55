import { describe, expect, it } from 'vitest'
import { createLaneRoom } from './lane-room.ts'

const messages = { lane: 'messages', shard: 0 } as const
const forever = () => new Promise<never>(() => undefined)

describe('the room in the lanes', () => {
  it('ends where a lane is three quarters full', () => {
    const room = createLaneRoom(100, 1) // 40 slots for messages
    for (let held = 0; held < 29; held += 1) void room.hold(messages, forever)
    expect(room.isRoomy()).toBe(true)
    void room.hold(messages, forever)
    expect(room.isRoomy()).toBe(false)
  })

  it('ends where a shard of it is three quarters full: no other shard lends it slots', () => {
    const room = createLaneRoom(100, 4) // 10 slots for the messages of each
    for (const shard of [0, 2]) {
      for (let held = 0; held < 7; held += 1) void room.hold({ lane: 'messages', shard }, forever)
    }
    expect(room.isRoomy()).toBe(true)
    void room.hold({ lane: 'messages', shard: 2 }, forever)
    expect(room.isRoomy()).toBe(false)
  })

  it('comes back when work ends, also by a throw', async () => {
    const room = createLaneRoom(4, 1) // one slot each
    const failing = Promise.withResolvers<void>()
    const held = room.hold({ lane: 'calls', shard: 0 }, () => failing.promise)
    expect(room.isRoomy()).toBe(false)
    failing.reject(new Error('away'))
    await expect(held).rejects.toThrow('away')
    expect(room.isRoomy()).toBe(true)
  })

  it('does not ask for room in the slow lane', () => {
    const room = createLaneRoom(4, 1)
    void room.hold({ lane: 'slow', shard: 0 }, forever)
    expect(room.isRoomy()).toBe(true)
  })
})
