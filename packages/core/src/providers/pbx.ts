import { createContent, stated, wholeNumber } from './create-content.ts'
import { AUSTRALIA, toNumber } from './e164.ts'
import { FORM, first, type Params, parseBoundedForm } from './form.ts'
import {
  type EventContent,
  MalformedPayloadError,
  type OpenedWebhook,
  type Webhook,
  type WebhookProvider,
} from './provider.ts'
import { tryRead } from './try-read.ts'

const MAX_EPOCH_SECONDS = 253_402_300_799

function timeOf(params: Params): number | undefined {
  const seconds = wholeNumber(first(params, 'timestamp'))
  return seconds !== undefined && seconds <= MAX_EPOCH_SECONDS ? seconds : undefined
}

/**
 * The form of url.net.au, "Receive SMS via webhook". Its `webhook_url` and `webhook_url_fallback` are anybody's claim:
 * they are never read. Numbers are written as one dials them in Australia, or a name.
 */
function readParams(params: Params): readonly EventContent[] {
  const messageId = first(params, 'message_id')
  const to = first(params, 'sms_number')
  if (messageId === '') throw new MalformedPayloadError('message_id is missing')
  if (to === '') throw new MalformedPayloadError('sms_number is missing')
  const from = first(params, 'from')
  const timestamp = timeOf(params)
  return [
    createContent({
      type: 'sms_received',
      dedupeKey: messageId,
      messageId,
      from,
      to,
      body: first(params, 'body'),
      phoneNumber: toNumber(to, AUSTRALIA),
      peerNumber: toNumber(from, AUSTRALIA),
      occurredAt: timestamp === undefined ? null : new Date(timestamp * 1000).toISOString(),
      data: stated({ service_id: first(params, 'service_id'), timestamp }),
    }),
  ]
}

const readPbx = (payload: Buffer): readonly EventContent[] => readParams(parseBoundedForm(payload))

function openPbx({ headers, body }: Webhook): OpenedWebhook {
  const contents = tryRead(() => readPbx(body))
  return {
    claimedAccountSid: null,
    claimedNumbers: (contents.value ?? []).flatMap(({ phoneNumber }) => phoneNumber ?? []),
    // Nothing is signed: the path token, and what else the account asks of a sender, are all there is.
    verify: () => ({ ok: true }),
    payload: body,
    contentType: headers['content-type'] ?? FORM,
    contents: contents.get,
  }
}

/** A PBX that posts the messages it receives. Only HTTP 200 is success for it. */
export const pbx: WebhookProvider = {
  name: 'pbx',
  routes: [{ method: 'post', path: '/webhooks/pbx/{token}' }],
  probes: [],
  mediaTypes: [FORM],
  verifyHeaders: [],
  open: openPbx,
  read: readPbx,
  answer: () => ({ status: 200, contentType: 'text/plain', body: '' }),
}
