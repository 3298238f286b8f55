import { randomBytes } from 'node:crypto'
import { kudosityInbound } from '@switchhook/testing/kudosity-simulator'
import type { ProviderRequest } from '@switchhook/testing/send-webhook'
import { createTelnyxKey, telnyxMessage } from '@switchhook/testing/telnyx-simulator'
import { twilioMessageStatus } from '@switchhook/testing/twilio-simulator'
import type { ProviderTenant } from './provider-tenant.ts'
import { bare, PERSON, type ProviderWebhooks } from './provider-webhooks.ts'

const plant = (what: string): string => `${what}-${randomBytes(12).toString('hex')}`
export const NUMBER = '+12025550143'
export const GUARDED_NUMBER = '+12025550144'
export const BASIC = { username: plant('user'), password: plant('password') }
export const API_SECRET = plant('api-secret')
/** In every message. */
export const TEXT = plant('private-text')

/** A tenant with `NUMBER`, and one with `GUARDED_NUMBER` whose accounts ask for `BASIC`, `API_SECRET` or an address. */
export type Setting = {
  readonly tenant: ProviderTenant
  readonly webhooks: ProviderWebhooks
  readonly guarded: ProviderTenant
  readonly guardedWebhooks: ProviderWebhooks
}
type Make = (setting: Setting) => ProviderRequest

const message = () => telnyxMessage({ from: PERSON, to: [NUMBER], text: TEXT })
const inbound = () =>
  kudosityInbound({ sender: bare(PERSON), recipient: bare(NUMBER), message: TEXT })
const guardedInbound = () =>
  kudosityInbound({ sender: bare(PERSON), recipient: bare(GUARDED_NUMBER), message: TEXT })
export const form = { from: 'ACME', smsNumber: bare(GUARDED_NUMBER), body: TEXT }
const reply: [string, string][] = [
  ['mobile', bare(PERSON)],
  ['longcode', bare(GUARDED_NUMBER)],
  ['response', TEXT],
  ['response_id', '1'],
]

function without(webhook: ProviderRequest, ...names: string[]): ProviderRequest {
  const headers = Object.entries(webhook.headers).filter(([name]) => !names.includes(name))
  return { ...webhook, headers: Object.fromEntries(headers) }
}
const nowSeconds = () => Math.floor(Date.now() / 1000)
export const sms: [string, string][] = [['Body', TEXT]]

/** What is sent, what it is answered, and what the reason speaks of. */
export const FORGED: readonly (readonly [string, number, RegExp, Make])[] = [
  [
    'Twilio without a signature',
    403,
    /signature/i,
    ({ webhooks }) => without(webhooks.twilioMessage(NUMBER, sms), 'x-twilio-signature'),
  ],
  [
    'Twilio with another token',
    403,
    /signature|token/i,
    ({ webhooks }) => webhooks.twilioMessage(NUMBER, sms, { authToken: 'f'.repeat(32) }),
  ],
  [
    'Twilio for another URL',
    403,
    /signature|URL/i,
    ({ webhooks }) =>
      webhooks.twilioMessage(NUMBER, sms, { publicBaseUrl: 'https://other.example' }),
  ],
  [
    'Twilio as JSON with other bytes',
    403,
    /body|signature/i,
    ({ webhooks }) => {
      const json = webhooks.twilioMessage(NUMBER, sms, { as: 'json' })
      return { ...json, body: `${String(json.body)} ` }
    },
  ],
  [
    'Telnyx without a signature',
    403,
    /signature/i,
    ({ webhooks }) => without(webhooks.telnyx(message()), 'telnyx-signature-ed25519'),
  ],
  [
    'Telnyx with another key',
    403,
    /signature|key/i,
    ({ webhooks }) => webhooks.telnyx(message(), { key: createTelnyxKey() }),
  ],
  [
    'Telnyx five minutes late',
    403,
    /old|time|clock/i,
    ({ webhooks }) => webhooks.telnyx(message(), { timestampSeconds: nowSeconds() - 305 }),
  ],
  [
    'Telnyx five minutes early',
    403,
    /time|clock|future/i,
    ({ webhooks }) => webhooks.telnyx(message(), { timestampSeconds: nowSeconds() + 305 }),
  ],
  [
    'Telnyx at somebody’s URL with its token',
    403,
    /signature|key/i,
    ({ webhooks, guarded }) => {
      const target = guarded.pathOf(guarded.accounts.telnyx, '/telnyx-webhook/')
      return webhooks.telnyx(message(), { target })
    },
  ],
  [
    'Kudosity with an unknown token',
    404,
    /not found/i,
    ({ webhooks }) => ({
      ...webhooks.kudosity(inbound()),
      target: `/webhooks/kudosity/${'x'.repeat(43)}`,
    }),
  ],
  [
    'Kudosity with a PBX’s token',
    404,
    /not found/i,
    ({ webhooks }) => {
      const target = webhooks.pbx(form).target.replace('/pbx/', '/kudosity/')
      return { ...webhooks.kudosity(inbound()), target }
    },
  ],
  [
    'Kudosity without its password',
    403,
    /password/i,
    ({ guardedWebhooks }) => guardedWebhooks.kudosity(guardedInbound()),
  ],
  [
    'Kudosity with a wrong password',
    403,
    /password/i,
    ({ guardedWebhooks }) =>
      guardedWebhooks.kudosity(guardedInbound(), { ...BASIC, password: 'guess' }),
  ],
  [
    'Kudosity V1 without a signature',
    403,
    /signature|password/i,
    ({ guardedWebhooks }) =>
      without(guardedWebhooks.kudosityV1(API_SECRET, reply), 'x-transmitsms-signature'),
  ],
  [
    'Kudosity V1 with another secret',
    403,
    /signature|password/i,
    ({ guardedWebhooks }) => guardedWebhooks.kudosityV1('another', reply),
  ],
  [
    'a PBX with an unknown token',
    404,
    /not found/i,
    ({ webhooks }) => ({ ...webhooks.pbx(form), target: `/webhooks/pbx/${'y'.repeat(43)}` }),
  ],
  [
    'a PBX from elsewhere',
    403,
    /allowed_cidrs/,
    ({ guardedWebhooks }) => guardedWebhooks.pbx(form),
  ],
]

/** What looks unusual and is as good as any: what it is answered. */
export const GENUINE: readonly (readonly [string, number, Make])[] = [
  ['Twilio as JSON', 200, ({ webhooks }) => webhooks.twilioMessage(NUMBER, sms, { as: 'json' })],
  ['Twilio as a GET', 200, ({ webhooks }) => webhooks.twilioMessage(NUMBER, sms, { as: 'query' })],
  [
    'Twilio’s status as JSON',
    204,
    ({ tenant, webhooks }) => {
      const { accountSid } = tenant
      const status = { accountSid, messageSid: `SM${'7'.repeat(32)}`, status: 'sent' } as const
      return webhooks.twilio(twilioMessageStatus({ ...status, from: NUMBER, to: PERSON }), {
        as: 'json',
      })
    },
  ],
  [
    'Telnyx nearly five minutes late',
    200,
    ({ webhooks }) => webhooks.telnyx(message(), { timestampSeconds: nowSeconds() - 290 }),
  ],
  [
    'Telnyx at its URL with the token',
    200,
    ({ tenant, webhooks }) => {
      const target = tenant.pathOf(tenant.accounts.telnyx, '/telnyx-webhook/')
      return webhooks.telnyx(message(), { target })
    },
  ],
  [
    'Kudosity with its password',
    200,
    ({ guardedWebhooks }) => guardedWebhooks.kudosity(guardedInbound(), BASIC),
  ],
]
