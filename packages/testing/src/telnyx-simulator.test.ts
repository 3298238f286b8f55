import Telnyx from 'telnyx'
import { describe, expect, test } from 'vitest'
import {
  createTelnyxKey,
  createTelnyxWebhook,
  telnyxCall,
  telnyxMessage,
  telnyxStatus,
} from './telnyx-simulator.ts'

const FROM = '+13125550123'
const TO = '+14155551234'

describe('a webhook', () => {
  test('is taken apart by Telnyx’s own package, which refuses another key or a changed body', async () => {
    const key = createTelnyxKey()
    const client = new Telnyx({ apiKey: 'unused' })
    for (const body of [
      telnyxMessage({ from: FROM, to: [TO], text: 'Olá 👋 \u2028', mediaUrls: ['https://m/1'] }),
      telnyxStatus({
        ...{ eventType: 'message.finalized', status: 'delivered', messageId: 'm1' },
        ...{ from: TO, to: FROM },
      }),
      telnyxCall({ eventType: 'call.hangup', from: FROM, to: TO, callControlId: 'v3:1' }),
    ]) {
      const { headers } = createTelnyxWebhook({ key, target: '/telnyx-webhook', body })
      const unwrapped = await client.webhooks.unwrap(body, { headers, key: key.publicKey })
      expect(unwrapped).toEqual(JSON.parse(body))
      const other = createTelnyxKey().publicKey
      await expect(client.webhooks.unwrap(body, { headers, key: other })).rejects.toThrow()
      const changed = body.replace(FROM, '+13125550124')
      const unwrapping = client.webhooks.unwrap(changed, { headers, key: key.publicKey })
      await expect(unwrapping).rejects.toThrow()
    }
  })

  test('of a known seed has the known key', () => {
    const seed = Buffer.from(Array.from({ length: 32 }, (_, index) => index + 1))
    const { publicKey } = createTelnyxKey(seed)
    expect(publicKey).toBe('ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ=')
  })

  test('may be signed at another time, which is refused when it is long ago', async () => {
    const key = createTelnyxKey()
    const body = telnyxMessage({ from: FROM, to: [TO] })
    const timestampSeconds = Math.floor(Date.now() / 1000) - 302
    const { headers } = createTelnyxWebhook({ key, target: '/', body, timestampSeconds })
    const client = new Telnyx({ apiKey: 'unused' })
    const unwrapping = client.webhooks.unwrap(body, { headers, key: key.publicKey })
    await expect(unwrapping).rejects.toThrow(/timestamp/i)
  })
})

test('a message is an MMS with media, and a group message has all its receivers', () => {
  const body = telnyxMessage({ from: FROM, to: [TO, FROM], cc: ['+1'], mediaUrls: ['https://m/1'] })
  const { data } = JSON.parse(body)
  expect(data).toMatchObject({
    event_type: 'message.received',
    payload: { type: 'MMS', to: [{ phone_number: TO }, { phone_number: FROM }] },
  })
})
