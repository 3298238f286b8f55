import { parse } from 'node:querystring'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sampleInput } from '../../test/golden/sample-input.ts'
import { EVENT_TYPES, PROVIDERS } from '../event.ts'
import { formatHeaders, type RenderInput } from './format.ts'
import { jsonBody } from './json-body.ts'
import { formatOf, SUPPORTED_FORMATS } from './registry.ts'
import { standardPayloadSchema } from './standard.ts'

const JSON_FORMATS = ['burki', 'kudosity', 'standard'] as const

/** Any UTF-16 there can be: lone surrogates, NUL, separators, escapes. */
const anyText = fc.oneof(
  fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 })
    .map((units) => String.fromCharCode(...units)),
  fc
    .array(fc.constantFrom('\\', '"', 'ud800', '\ud800', '\udc00', '\u2028', '\0', '&=%+'), {
      maxLength: 12,
    })
    .map((parts) => parts.join('')),
)
const anyData = fc.dictionary(
  fc.oneof(
    anyText,
    fc.constantFrom('status', 'duration', 'media', 'hits', 'source', 'source_message', 'stale'),
    fc.constantFrom(
      '__proto__',
      'event',
      'call_sid',
      'provider',
      'message_id',
      'timestamp',
      'payload',
    ),
  ),
  fc.jsonValue() as fc.Arbitrary<unknown>,
  { maxKeys: 8 },
)
const anyInput = fc
  .record({
    type: fc.constantFrom(...EVENT_TYPES),
    provider: fc.constantFrom(...PROVIDERS),
    messageId: anyText,
    from: anyText,
    to: anyText,
    body: anyText,
    mediaUrls: fc.array(anyText, { maxLength: 3 }),
    phoneNumber: fc.option(anyText),
    peerNumber: fc.option(anyText),
    callSid: fc.option(anyText),
    status: anyText,
    errorCode: anyText,
    messageRef: anyText,
    occurredAt: fc.option(fc.constant('2026-11-21T01:00:00.000Z')),
    data: anyData,
    payload: fc.uint8Array({ maxLength: 40 }),
    isStale: fc.boolean(),
  })
  .map(
    ({ provider, payload, isStale, ...content }): RenderInput =>
      sampleInput(content, { provider, isStale, payload: Buffer.from(payload) }),
  )

const wellFormed = new TextDecoder('utf-8', { fatal: true })

describe('every format', () => {
  it('is there for every name that a destination may choose', () => {
    for (const name of SUPPORTED_FORMATS) expect(formatOf(name)).toBeTypeOf('function')
    expect(SUPPORTED_FORMATS).toEqual(['burki', 'pbx', 'kudosity', 'standard', 'raw'])
  })

  it('is not there for another name, of a newer version', () => {
    expect(() => formatOf('newer' as never)).toThrow('no renderer for format "newer"')
  })

  it('carries any text of a message, a lone surrogate as U+FFFD', () => {
    fc.assert(
      fc.property(anyText, (body) => {
        const input = sampleInput({ body })
        const text = (name: (typeof SUPPORTED_FORMATS)[number]) =>
          wellFormed.decode(formatOf(name)(input).body)
        expect(JSON.parse(text('burki')).data.body).toBe(body.toWellFormed())
        expect(JSON.parse(text('kudosity')).mo.message).toBe(body.toWellFormed())
        expect(JSON.parse(text('standard')).data.body).toBe(body.toWellFormed())
        expect(parse(text('pbx')).body).toBe(body.toWellFormed())
        expect(new URLSearchParams(text('pbx')).get('body')).toBe(body.toWellFormed())
      }),
    )
  })

  it('of JSON is one object in well-formed UTF-8, whatever came in', () => {
    fc.assert(
      fc.property(anyInput, fc.constantFrom(...JSON_FORMATS), (input, name) => {
        const text = wellFormed.decode(formatOf(name)(input).body)
        expect(JSON.parse(text)).toBeTypeOf('object')
        expect(text).not.toMatch(/(?<!\\)(\\\\)*\\ud[89a-f]/)
      }),
      { numRuns: 300 },
    )
  })

  it('of a form has all eight fields once, whatever came in', () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const fields = [...new URLSearchParams(formatOf('pbx')(input).body.toString('latin1'))]
        expect(fields.map(([name]) => name)).toEqual([
          'service_id',
          'from',
          'sms_number',
          'body',
          'message_id',
          'timestamp',
          'webhook_url',
          'webhook_url_fallback',
        ])
        expect(Object.fromEntries(fields)).toMatchObject({
          timestamp: expect.stringMatching(/^\d+$/),
          webhook_url: input.destination.url,
          webhook_url_fallback: input.destination.fallbackEmail,
        })
      }),
      { numRuns: 300 },
    )
  })

  it('called standard keeps to its schema, whatever came in', () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const body: unknown = JSON.parse(formatOf('standard')(input).body.toString('utf8'))
        expect(standardPayloadSchema.safeParse(body).error).toBeUndefined()
      }),
      { numRuns: 300 },
    )
  })
})

describe('the raw format', () => {
  it('is the provider’s bytes under its content type', () => {
    const payload = Buffer.from([0xff, 0, 0x0d, 0x0a])
    const { event } = sampleInput({}, { payload, contentType: 'application/JSON; charset=utf-8' })
    const request = formatOf('raw')({ ...sampleInput(), event })
    expect(request.body.equals(payload)).toBe(true)
    expect(request.contentType).toBe('application/JSON; charset=utf-8')
    expect(request.userAgent).toBe('Switchhook/1.0')
  })

  it('of a webhook without a content type is of bytes', () => {
    expect(formatOf('raw')(sampleInput({}, { contentType: '' })).contentType).toBe(
      'application/octet-stream',
    )
  })
})

describe('the headers of every format', () => {
  it('mark an event that came after a later one, and no other', () => {
    expect(formatHeaders({ isStale: true })).toEqual({ 'switchhook-stale': 'true' })
    expect(formatHeaders({ isStale: false })).toEqual({})
  })
})

describe('jsonBody', () => {
  it('leaves what only looks like a lone surrogate', () => {
    expect(jsonBody('\\ud800').toString()).toBe('"\\\\ud800"')
    expect(JSON.parse(jsonBody('\\\ud800\\ud800').toString())).toBe('\\\ufffd\\ud800')
  })

  it('leaves pairs, and mends names too', () => {
    expect(JSON.parse(jsonBody({ '\udc00': '🎉' }).toString())).toEqual({ '\ufffd': '🎉' })
  })
})
