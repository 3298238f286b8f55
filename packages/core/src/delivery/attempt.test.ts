import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isSuccess, truncateBody } from './attempt.ts'

const MARKER = '... [TRUNCATED]'

describe('a logged body', () => {
  it('is kept whole up to 10,240 characters and marked beyond', () => {
    expect(truncateBody('a'.repeat(10_240))).toBe('a'.repeat(10_240))
    expect(truncateBody('a'.repeat(10_241))).toBe('a'.repeat(10_240) + MARKER)
    expect(truncateBody('')).toBe('')
  })

  it('never ends in half a character', () => {
    expect(truncateBody(`${'a'.repeat(10_239)}🎉🎉`)).toBe('a'.repeat(10_239) + MARKER)
    expect(truncateBody(`${'a'.repeat(10_238)}🎉🎉`)).toBe(`${'a'.repeat(10_238)}🎉${MARKER}`)
    expect(truncateBody('🎉'.repeat(6_000))).toBe('🎉'.repeat(5_120) + MARKER)
  })

  it('holds nothing that Postgres refuses: no NUL, no lone surrogate', () => {
    expect(truncateBody('a\0b')).toBe('a\uFFFDb')
    expect(truncateBody('a\ud800b\udc00')).toBe('a\uFFFDb\uFFFD')
    const units = fc.array(fc.constantFrom('\0', '\ud83c', '\udf89', 'a', '🎉'), { maxLength: 40 })
    fc.assert(
      fc.property(units, fc.boolean(), (parts, isLong) => {
        const text = (isLong ? 'x'.repeat(10_220) : '') + parts.join('')
        const logged = truncateBody(text)
        expect(logged.isWellFormed()).toBe(true)
        expect(logged).not.toContain('\0')
        expect(logged.length).toBeLessThanOrEqual(10_240 + MARKER.length)
      }),
    )
  })
})

describe('success', () => {
  const accepted = (rule: '2xx' | 'exact_200') =>
    Array.from({ length: 1_000 }, (_, status) => status).filter((status) => isSuccess(rule, status))

  it('is every status from 200 to 299, or 200 alone', () => {
    expect(accepted('2xx')).toEqual(Array.from({ length: 100 }, (_, index) => 200 + index))
    expect(accepted('exact_200')).toEqual([200])
  })
})
