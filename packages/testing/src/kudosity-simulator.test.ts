import { describe, expect, test } from 'vitest'
import {
  createKudosityV1Callback,
  createKudosityWebhook,
  kudosityInbound,
  kudosityStatus,
} from './kudosity-simulator.ts'

const SECRET = 'test_api_secret_0123456789'

/** Made with PHP 8.2's json_encode and hash_hmac. */
const KNOWN = [
  {
    signature: '7bd35ce0ffe3f22e26189276ca2f03f89e740f68878305eac2c8dfc659ffa5ed',
    fields: [
      ['message_id', '331694668'],
      ['mobile', '61400000001'],
      ['datetime', '2020-05-16 12:10:00'],
      ['status', 'delivered'],
      ['user_id', '123456'],
    ],
  },
  {
    signature: '0459642b754e0f68b8a7456745c76b3eda5f40b0b7eeebaf7f02219e5ac9eb2e',
    fields: [
      ['user_id', '54911'],
      ['message_id', '331695745'],
      ['response', 'see https://x.y/z "ok" Olá 👋'],
      ['response_id', '35566670'],
      ['mobile', '61400000001'],
      ['longcode', '61429997672'],
      ['datetime_entry', '2020-05-16 12:10:00'],
      ['is_optout', 'no'],
    ],
  },
  {
    signature: 'c3b11c924bc453937bfaf63ab7959fa2286c320c92bb8e5afe738628abd8745c',
    fields: [
      ['mobile', '61400000001'],
      ['message_id', '331694668'],
      ['datetime', '2020-05-16 12:10:00'],
      ['status', 'delivered'],
      ['user_id', '123456'],
    ],
  },
] satisfies { signature: string; fields: [string, string][] }[]

describe('a V1 callback', () => {
  test.each(KNOWN)('is signed $signature, as PHP signs it', ({ fields, signature }) => {
    const { method, target, headers } = createKudosityV1Callback({
      ...{ path: '/webhooks/kudosity-v1/t', fields, apiSecret: SECRET },
    })
    expect(method).toBe('GET')
    expect(headers['x-transmitsms-signature']).toBe(signature)
    const { searchParams } = new URL(target, 'http://x')
    expect([...searchParams]).toEqual(fields.map(([name, value]) => [name, value]))
  })

  test('without a secret is not signed', () => {
    const { headers } = createKudosityV1Callback({ path: '/', fields: [] })
    expect(headers).not.toHaveProperty('x-transmitsms-signature')
  })
})

describe('a V2 webhook', () => {
  test('is an SMS_INBOUND, or an MMS_INBOUND with media', () => {
    const numbers = { sender: '61491570006', recipient: '61491570017' }
    const media = [{ name: 'cute.png', content: 'iVBORw0KGgo=' }]
    expect(JSON.parse(kudosityInbound(numbers))).toMatchObject({
      event_type: 'SMS_INBOUND',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      mo: { type: 'SMS', ...numbers },
    })
    expect(JSON.parse(kudosityInbound({ ...numbers, media }))).toMatchObject({
      event_type: 'MMS_INBOUND',
      mo: { type: 'MMS', media },
    })
  })

  test('is a SMS_STATUS with the sender’s reference', () => {
    const numbers = { recipient: '61491570006', sender: '61491570017' }
    const body = kudosityStatus({ ...numbers, id: 'm1', status: 'SENT', messageRef: 'order-1' })
    expect(JSON.parse(body)).toMatchObject({
      event_type: 'SMS_STATUS',
      status: { type: 'SMS', id: 'm1', message_ref: 'order-1', status: 'SENT', ...numbers },
    })
  })

  test('has no signature, and Basic only when told', () => {
    const plain = createKudosityWebhook({ target: '/w', body: '{}' })
    expect(Object.keys(plain.headers)).toEqual(['content-type', 'user-agent'])
    const basic = { username: 'kudosity', password: 'p:w' }
    const { headers } = createKudosityWebhook({ target: '/w', body: '{}', basic })
    expect(headers.authorization).toBe('Basic a3Vkb3NpdHk6cDp3')
  })
})
