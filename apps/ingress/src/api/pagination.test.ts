import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { decodeCursor, encodeCursor, pageOf, pageQuery, rowsToRead } from './pagination.ts'

const idSchema = z.string().regex(/^evt_\w{1,40}$/)
const query = z.strictObject(pageQuery('events', idSchema))
const position = { timeMs: 1_764_000_000_123, id: 'evt_abc' }

describe('a cursor', () => {
  it('comes back as the position it was made of', () => {
    fc.assert(
      fc.property(
        fc.record({
          timeMs: fc.nat({ max: 8.64e15 }),
          id: fc.oneof(fc.nat(), fc.string()),
        }),
        (given) => {
          const cursor = encodeCursor('any', given)
          // fc.string() gives lengths that stay below the limit of a cursor.
          expect(decodeCursor('any', z.union([z.string(), z.number()]), cursor)).toEqual(given)
        },
      ),
    )
  })

  it('of any text is decoded or refused, never thrown at', () => {
    const texts = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 400 }),
      fc.base64String(),
      fc.json().map((json) => Buffer.from(json).toString('base64url')),
      fc
        .tuple(fc.anything(), fc.anything(), fc.string())
        .map((parts) => Buffer.from(JSON.stringify(parts)).toString('base64url')),
    )
    fc.assert(
      fc.property(texts, (text) => {
        const found = decodeCursor('events', idSchema, text)
        expect(found === undefined || encodeCursor('events', found) === text).toBe(true)
      }),
    )
  })

  it('is refused after any one character of it was changed', () => {
    const cursor = encodeCursor('events', position)
    for (let at = 0; at < cursor.length; at += 1) {
      for (const other of 'AQgw019_-') {
        if (other === cursor[at]) continue
        const changed = cursor.slice(0, at) + other + cursor.slice(at + 1)
        expect(decodeCursor('events', idSchema, changed)).toBeUndefined()
      }
    }
  })

  it.each([
    ['of another list', encodeCursor('deliveries', position)],
    ['with an id of another form', encodeCursor('events', { ...position, id: 'dlv_abc' })],
    ['with a number for an id', encodeCursor('events', { ...position, id: 7 })],
    ['before 1970', encodeCursor('events', { ...position, timeMs: -1 })],
    ['with padding', `${encodeCursor('events', position)}=`],
    ['that is empty', ''],
    ['of 10 kB', 'A'.repeat(10_000)],
  ])('%s is refused', (_, cursor) => {
    expect(query.safeParse({ cursor }).success).toBe(false)
  })
})

describe('a limit', () => {
  it('is 50 when absent, and any whole number from 1 to 200 as it is', () => {
    expect(query.parse({}).limit).toBe(50)
    expect(query.parse({ limit: '1' }).limit).toBe(1)
    expect(query.parse({ limit: '200' }).limit).toBe(200)
  })

  it.each([
    '0',
    '-1',
    '201',
    '1e9',
    '1000000000',
    'a',
    '',
    ' 5',
    '5.0',
    '0x10',
    '9223372036854775808',
  ])('%j is refused', (limit) => {
    expect(query.safeParse({ limit }).success).toBe(false)
  })

  it('given twice is refused', () => {
    expect(query.safeParse({ limit: ['1', '2'] }).success).toBe(false)
  })
})

describe('a page', () => {
  const rows = [3, 2, 1].map((id) => ({ id, timeMs: 1000 + id }))

  it('has a cursor at its last row when another row follows', () => {
    const page = pageOf(
      'n',
      2,
      rows,
      (row) => row,
      ({ id }) => id,
    )
    expect(page.items).toEqual([3, 2])
    expect(decodeCursor('n', z.number(), page.next_cursor ?? '')).toEqual({ timeMs: 1002, id: 2 })
  })

  it('has none when it holds the last row', () => {
    expect(rowsToRead(3)).toBe(4)
    expect(
      pageOf(
        'n',
        3,
        rows,
        (row) => row,
        ({ id }) => id,
      ).next_cursor,
    ).toBeNull()
    expect(
      pageOf(
        'n',
        3,
        [],
        (row) => row,
        ({ id }) => id,
      ),
    ).toEqual({ items: [], next_cursor: null })
  })
})
