import type { Logger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { startTelnyxRest, type TelnyxRest } from '@switchhook/testing/telnyx-rest'
import { startTwilioRest, type TwilioRest } from '@switchhook/testing/twilio-rest'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createProviderControl, type NumberRef } from './provider-control.ts'
import { codeOf } from './provider-errors.ts'

const TWILIO = { accountSid: `AC${'1'.repeat(32)}`, authToken: 'the-token' }
const REQUEST = { voiceUrl: 'https://own.example/voice', sms: { url: 'https://own.example/sms' } }
/** As it is written, and as a part of a profile's name or of a path. */
const PLANTED = '14155557731'

let twilio: TwilioRest
let telnyx: TelnyxRest
let lines: { readonly fields: object; readonly text: string }[]

beforeAll(async () => {
  twilio = await startTwilioRest(TWILIO)
  telnyx = await startTelnyxRest({ apiKey: 'KEY123' })
})
afterAll(async () => {
  await twilio.stop()
  await telnyx.stop()
})
beforeEach(() => {
  lines = []
  twilio.reset()
  telnyx.reset()
})

const write = (fields: object, message: string) => {
  lines.push({ fields, text: JSON.stringify({ ...fields, message }) })
}
const log: Logger = { debug: write, info: write, warn: write, error: write }

const control = () =>
  createProviderControl({
    ...{ twilioApiBaseUrl: twilio.url, telnyxApiBaseUrl: telnyx.baseUrl, log },
    ...{ publicBaseUrl: 'https://hooks.example.com', metrics: createMetrics(createRegistry()) },
  })

function refOf(provider: 'twilio' | 'telnyx'): NumberRef {
  const account =
    provider === 'twilio'
      ? ({ provider, accountId: 'pac_1', ...TWILIO } as const)
      : ({ provider, accountId: 'pac_2', apiKey: 'KEY123' } as const)
  const ids = { organizationId: 'org_a', changeId: 'chg_1' }
  return { ...ids, provider, phoneNumber: `+${PLANTED}`, accounts: [account] }
}

async function failingChange(ref: NumberRef): Promise<Error> {
  const plan = control().plan(ref, REQUEST)
  const change = plan.then((made) => control().apply(ref, made, async () => undefined))
  return await change.then(
    () => Promise.reject(new Error('the change has not failed')),
    (error: Error) => error,
  )
}

describe('the log of a change that is refused or fails', () => {
  const expectLine = (facts: object) => {
    expect(lines.map(({ fields }) => fields)).toEqual([
      { organization_id: 'org_a', change_id: 'chg_1', ...facts },
    ])
    expect(lines.map(({ text }) => text).join('\n')).not.toContain(PLANTED)
  }

  it('names the organization and the change, never the number: not found', async () => {
    const error = await failingChange(refOf('twilio'))
    expect(error.message).toContain(PLANTED)
    expectLine({ provider: 'twilio', outcome: 'refused', code: 'NumberNotAtProvider' })
  })

  it('never the number of an obstacle', async () => {
    twilio.addNumber(`+${PLANTED}`, { trunk_sid: 'TK1' })
    const error = await failingChange(refOf('twilio'))
    expect(error.message).toContain(PLANTED)
    expectLine({ provider: 'twilio', outcome: 'refused', code: 'ProviderObstacle' })
  })

  it('never what Twilio says, which quotes the number', async () => {
    twilio.addNumber(`+${PLANTED}`)
    twilio.fail({ path: /IncomingPhoneNumbers/ }, { status: 400 })
    const error = await failingChange(refOf('twilio'))
    expect(error.message).toContain(PLANTED)
    expectLine({ provider: 'twilio', outcome: 'failed', code: 'status_400_21211' })
  })

  it('tells what is known of a connection that ended, and what Telnyx answers', async () => {
    telnyx.addNumber(`+${PLANTED}`)
    telnyx.fail({ method: 'POST' }, { status: 422 })
    await failingChange(refOf('telnyx'))
    expectLine({
      ...{ provider: 'telnyx', outcome: 'failed' },
      code: expect.stringMatching(/^status_422/),
    })
    lines = []
    telnyx.fail({}, 'cut')
    await failingChange(refOf('telnyx'))
    expectLine({
      ...{ provider: 'telnyx', outcome: 'failed' },
      code: expect.stringMatching(/^(E[A-Z]+|API\w+Error)$/),
    })
  })
})

describe('the code of an error', () => {
  it.each([
    [Object.assign(new Error('x'), { status: 500 }), 'status_500'],
    [Object.assign(new Error('x'), { status: 400, code: 21211 }), 'status_400_21211'],
    [Object.assign(new Error('x'), { status: 400, code: PLANTED }), 'status_400'],
    [Object.assign(new Error('x'), { code: `+${PLANTED}` }), 'Error'],
    [Object.assign(new Error('x'), { code: 'ECONNRESET' }), 'ECONNRESET'],
    [PLANTED, 'unknown'],
  ])('%# holds nothing that could be a number', (error, code) => {
    expect(codeOf(error)).toBe(code)
  })
})
