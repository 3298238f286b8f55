import { expect, test } from 'vitest'
import { createPbxPost } from './pbx-simulator.ts'
import { startReceiver } from './receiver.ts'
import { sendWebhook } from './send-webhook.ts'
import { checkPbxForm } from './vendor-shapes.ts'

test('a form has the eight fields in the PBX’s order, and comes over the wire as it was made', async () => {
  await using receiver = await startReceiver()
  const post = createPbxPost({
    ...{ target: '/webhooks/pbx/t?x=1', from: 'ACME', smsNumber: '61491570017' },
    ...{ body: 'Test Message & more', timestampSeconds: 1_576_391_654 },
    basic: { username: 'pbx', password: 'secret' },
  })
  expect(await sendWebhook(receiver.url, post)).toMatchObject({ status: 200, text: '' })
  const [seen] = receiver.received
  if (seen === undefined) throw new Error('nothing came')
  expect(seen.path).toBe('/webhooks/pbx/t?x=1')
  expect(seen.headers.authorization).toBe('Basic cGJ4OnNlY3JldA==')
  expect(checkPbxForm(seen)).toMatchObject({
    ...{ from: 'ACME', sms_number: '61491570017', body: 'Test Message & more' },
    timestamp: '1576391654',
  })
})
