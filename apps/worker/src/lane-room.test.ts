import { describe, expect, it } from 'vitest'
import { createLaneRoom } from './lane-room.ts'

const forever = () => new Promise<never>(() => undefined)

describe('the room in the lanes', () => {
  it('ends where a lane is three quarters full', () => {
    const room = createLaneRoom(100) // 40 slots for messages
    for (let held = 0; held < 29; held += 1) void room.hold('messages', forever)
    expect(room.isRoomy()).toBe(true)
    void room.hold('messages', forever)
    expect(room.isRoomy()).toBe(false)
  })

  it('comes back when work ends, also by a throw', async () => {
    const room = createLaneRoom(4) // one slot each
    const failing = Promise.withResolvers<void>()
    const held = room.hold('calls', () => failing.promise)
    expect(room.isRoomy()).toBe(false)
    failing.reject(new Error('away'))
    await expect(held).rejects.toThrow('away')
    expect(room.isRoomy()).toBe(true)
  })

  it('does not ask for room in the slow lane', () => {
    const room = createLaneRoom(4)
    void room.hold('slow', forever)
    expect(room.isRoomy()).toBe(true)
  })
})
