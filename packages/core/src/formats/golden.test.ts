import { stringify } from 'node:querystring'
import {
  checkBurkiMessage,
  checkBurkiVoice,
  checkKudosity,
  checkPbxForm,
  checkStandard,
} from '@switchhook/testing/vendor-shapes'
import { describe, expect, it } from 'vitest'
import { type GoldenCase, goldenEvents, readGoldenCases } from '../../test/golden/golden-cases.ts'
import {
  EVENT_TYPES,
  type EventType,
  PROVIDERS,
  type ProviderName,
  VOICE_EVENT_TYPES,
} from '../event.ts'
import { kindOf, type RenderInput } from './format.ts'
import { KUDOSITY_TYPES } from './kudosity-types.ts'
import { formatOf } from './registry.ts'
import { standardPayloadSchema } from './standard.ts'

type GoldenFormat = 'burki' | 'pbx' | 'kudosity' | 'standard'

function bodyOf(input: RenderInput, format: GoldenFormat | 'raw'): string {
  return formatOf(format)(input).body.toString('utf8')
}

/** What the reviewed fields are as bytes: the order of names counts. */
function bytesOf(format: GoldenFormat, fields: Readonly<Record<string, unknown>>): string {
  return format === 'pbx' ? stringify(fields as Record<string, string>) : JSON.stringify(fields)
}

/** Throws for what is not of the vendor's shape. Kudosity has no voice, Burki no statuses: those are ours. */
function followsVendor(format: GoldenFormat, input: RenderInput): void {
  const { contentType, userAgent, body } = formatOf(format)(input)
  const headers = { 'content-type': contentType, 'user-agent': userAgent }
  const delivered = { method: 'POST', headers, body }
  const { type } = input.event
  if (format === 'standard') standardPayloadSchema.parse(checkStandard(delivered))
  if (format === 'pbx') checkPbxForm(delivered)
  if (format === 'kudosity' && Object.hasOwn(KUDOSITY_TYPES, type)) checkKudosity(delivered)
  if (format === 'burki' && kindOf(type) === 'received') checkBurkiMessage(delivered)
  if (format === 'burki' && isVoice(type)) checkBurkiVoice(delivered)
}

const isVoice = (type: EventType) => VOICE_EVENT_TYPES.some((voice) => voice === type)

/** What each provider can say. */
const SAID: Readonly<Record<ProviderName, readonly EventType[]>> = {
  twilio: [
    'sms_received',
    'mms_received',
    'sms_status',
    'mms_status',
    'opt_out',
    'call_started',
    'call_answered',
    'call_ended',
    'call_failed',
    'recording_started',
    'recording_completed',
    'unknown',
  ],
  telnyx: [
    'sms_received',
    'mms_received',
    'sms_status',
    'mms_status',
    'opt_out',
    'call_started',
    'call_answered',
    'call_ended',
    'call_failed',
    'recording_completed',
    'unknown',
  ],
  kudosity: [
    'sms_received',
    'mms_received',
    'sms_status',
    'mms_status',
    'link_hit',
    'opt_out',
    'unknown',
  ],
  pbx: ['sms_received'],
  platform: EVENT_TYPES,
}

describe.each(PROVIDERS)('%s', (provider) => {
  function eventOf(golden: GoldenCase, index: number): RenderInput {
    const input = goldenEvents(provider, golden)[index]
    if (input === undefined) throw new Error('the webhook has fewer events than were reviewed')
    return input
  }

  for (const [title, golden] of readGoldenCases(provider)) {
    describe(title, () => {
      it('makes the reviewed events and no others', () => {
        const types = goldenEvents(provider, golden).map(({ event }) => event.type)
        expect(types).toEqual(golden.events.map(({ type }) => type))
      })

      for (const [index, { type, ...formats }] of golden.events.entries()) {
        const nth = golden.events.slice(0, index).some((before) => before.type === type)
          ? ` of receiver ${index + 1}`
          : ''
        for (const format of ['burki', 'pbx', 'kudosity', 'standard'] as const) {
          it(`is delivered as ${type}${nth} in ${format}, byte for byte as reviewed`, () => {
            const input = eventOf(golden, index)
            expect(bodyOf(input, format)).toBe(bytesOf(format, formats[format]))
            followsVendor(format, input)
          })
        }

        it(`is delivered as ${type}${nth} in raw, its bytes and content type untouched`, () => {
          const input = eventOf(golden, index)
          const isJson = golden.content_type === 'application/json'
          expect(bodyOf(input, 'raw')).toBe(bytesOf(isJson ? 'standard' : 'pbx', golden.payload))
          expect(formatOf('raw')(input).contentType).toBe(golden.content_type)
        })
      }
    })
  }

  it('has a reviewed case of every type that it can say', () => {
    const types = readGoldenCases(provider).flatMap(([, { events }]) =>
      events.map(({ type }) => type),
    )
    expect([...new Set(types)].sort()).toEqual([...SAID[provider]].sort())
  })
})
