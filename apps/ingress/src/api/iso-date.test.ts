import { describe, expect, it } from 'vitest'
import { isoDate } from './iso-date.ts'

const at = (text: string, end: 'from' | 'to' = 'from') => {
  const parsed = isoDate(end).safeParse(text)
  if (!parsed.success) return 'refused'
  return parsed.data === undefined ? undefined : new Date(parsed.data).toISOString()
}

describe('a date in a query', () => {
  it.each([
    ['2026-04-30T10:00:00Z', '2026-04-30T10:00:00.000Z'],
    ['2026-04-30T10:00:00.123456', '2026-04-30T10:00:00.123Z'],
    ['2026-04-30T10:00', '2026-04-30T10:00:00.000Z'],
    ['2026-04-30 10:00:00', '2026-04-30T10:00:00.000Z'],
    ['2026-04-30T10:00:00+10:00', '2026-04-30T00:00:00.000Z'],
    ['2026-04-30T10:00:00 10:00', '2026-04-30T00:00:00.000Z'],
    ['2026-04-30T10:00:00-0530', '2026-04-30T15:30:00.000Z'],
    ['2026-04-30', '2026-04-30T00:00:00.000Z'],
    ['', undefined],
  ])('%s is %s', (text, expected) => {
    expect(at(text)).toBe(expected)
  })

  it('ends a range with the last moment of a day', () => {
    expect(at('2026-04-30', 'to')).toBe('2026-04-30T23:59:59.999Z')
    expect(at('2026-04-30T00:00:00', 'to')).toBe('2026-04-30T00:00:00.000Z')
  })

  it.each([
    ...['2026-02-30', '2026-13-01', '2026-04-30T25:00:00Z', '2026-04-30T', 'yesterday'],
    ...['1764000000', '2026-4-1', '30.04.2026', '+300000-01-01T00:00:00Z', '0000-00-00'],
    '2026-04-30T10:00:00+99:99',
  ])('refuses %s', (text) => {
    expect(at(text)).toBe('refused')
  })
})
