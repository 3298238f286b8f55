import type { EventType } from '../event.ts'
import { toNumber } from './e164.ts'
import { FORM, first, mediaTypeOf, type Params, parseBoundedForm, queryOf } from './form.ts'
import { parseJsonObject, textOf } from './json-payload.ts'
import type { Answer, EventContent, OpenedWebhook, Webhook, WebhookProvider } from './provider.ts'
import { tryRead } from './try-read.ts'
import { readTwilioParams } from './twilio-events.ts'
import { verifyTwilio } from './twilio-signature.ts'

const JSON_TYPE = 'application/json'
const PATHS = [
  '/twilio-sms-webhook',
  '/webhooks/sms/twilio',
  '/twilio-voice-webhook',
  '/recording-status',
] as const
const EMPTY_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response/>'

/** A JSON body's texts are its parameters. Without a prototype, like those of a form. */
function parseJsonParams(payload: Buffer): Params {
  const params: Record<string, string> = Object.create(null)
  for (const [name, value] of Object.entries(parseJsonObject(payload))) params[name] = textOf(value)
  return params
}

/** Throws `MalformedPayloadError`. */
function parseParams(payload: Buffer, contentType: string): Params {
  return mediaTypeOf(contentType) === JSON_TYPE
    ? parseJsonParams(payload)
    : parseBoundedForm(payload)
}

function readTwilio(payload: Buffer, contentType: string): readonly EventContent[] {
  return readTwilioParams(parseParams(payload, contentType), payload)
}

function openTwilio(webhook: Webhook): OpenedWebhook {
  const isGet = webhook.method === 'GET'
  const payload = isGet ? queryOf(webhook.url) : webhook.body
  const contentType = isGet ? FORM : (webhook.headers['content-type'] ?? '')
  const params = tryRead(() => parseParams(payload, contentType))
  const claimed = (name: string) => first(params.value ?? {}, name)
  return {
    claimedAccountSid: claimed('AccountSid') || null,
    claimedNumbers: [claimed('To'), claimed('From')].flatMap((number) => toNumber(number) ?? []),
    verify: ({ verifyKeys }) => verifyTwilio(webhook, params.value, verifyKeys, PATHS),
    payload,
    contentType,
    contents: () => readTwilioParams(params.get(), payload),
  }
}

/** Twilio signs every GET, and says of every JSON body in the URL what its hash is. */
function findMisfit({ method, url, headers }: Webhook): 'method' | 'media_type' | undefined {
  if (method === 'GET') return headers['x-twilio-signature'] === undefined ? 'method' : undefined
  const isJson = mediaTypeOf(headers['content-type'] ?? '') === JSON_TYPE
  return isJson && !/[?&]bodySHA256=/.test(url) ? 'media_type' : undefined
}

const INCOMING: ReadonlySet<EventType> = new Set(['sms_received', 'mms_received', 'unknown'])

/** twilio.com/docs/messaging/guides/webhook-request: TwiML for what came in, 204 for what is only told. */
function answerTwilio(type: EventType): Answer {
  return INCOMING.has(type)
    ? { status: 200, contentType: 'text/xml', body: EMPTY_TWIML }
    : { status: 204, contentType: null, body: '' }
}

export const twilio: WebhookProvider = {
  name: 'twilio',
  routes: PATHS.flatMap((path) => [
    { method: 'post', path } as const,
    { method: 'get', path } as const,
  ]),
  probes: [],
  mediaTypes: [FORM, JSON_TYPE],
  findMisfit,
  // The hosts are read only to tell a person what is wrong.
  verifyHeaders: ['x-twilio-signature', 'host', 'x-forwarded-host'],
  open: openTwilio,
  read: readTwilio,
  answer: answerTwilio,
}
