import { hash } from 'node:crypto'
import { createContent, keyOfBytes, stated, toUtc, wholeNumber } from './create-content.ts'
import { toNumber } from './e164.ts'
import { FORM, isForm, queryOf } from './form.ts'
import { type JsonObject, listOf, objectOf, parseJsonObject, textOf } from './json-payload.ts'
import { readKudosityV1, verifyKudosityV1 } from './kudosity-v1.ts'
import {
  type EventContent,
  MalformedPayloadError,
  type OpenedWebhook,
  type Webhook,
  type WebhookProvider,
} from './provider.ts'
import { messageStanding } from './status-rank.ts'
import { tryRead } from './try-read.ts'

const JSON_TYPE = 'application/json'

/** What every event has, and the object that it is about. */
type KudosityEvent = {
  readonly type: string
  readonly timestamp: string
  readonly object: JsonObject
  readonly campaignId: string
}

/** A copy is byte-identical; `about` is the status, the source, or which link was hit how often. */
function dedupeKey(event: KudosityEvent, id: string, ...about: string[]): string {
  const parts = [event.type, id, ...about, event.timestamp]
  return `sha256.${hash('sha256', JSON.stringify(parts), 'hex')}`
}

/** Throws `MalformedPayloadError` when the object, or what names it, is not there. */
function idOf(object: JsonObject, name: string): string {
  const id = textOf(object.id)
  if (id === '') throw new MalformedPayloadError(`${name}.id is missing`)
  return id
}

/** A message object as it came; undefined when there is none. */
function messageOf(value: unknown): JsonObject | undefined {
  const message = objectOf(value)
  return Object.keys(message).length > 0 ? message : undefined
}

function mediaOf(value: unknown) {
  const media = listOf(value).map((medium) => {
    const { name, content } = objectOf(medium)
    return { name: textOf(name), content: textOf(content) }
  })
  return media.length > 0 ? media : undefined
}

/** `mo`: a message from a customer (`sender`) to the tenant (`recipient`). */
function readInbound(event: KudosityEvent): EventContent {
  const { object, timestamp } = event
  const id = idOf(object, 'mo')
  const to = textOf(object.recipient)
  if (to === '') throw new MalformedPayloadError('mo.recipient is missing')
  const from = textOf(object.sender)
  const last = objectOf(object.last_message)
  return createContent({
    type: event.type === 'MMS_INBOUND' ? 'mms_received' : 'sms_received',
    dedupeKey: dedupeKey(event, id),
    messageId: id,
    from,
    to,
    body: textOf(object.message),
    phoneNumber: toNumber(to),
    peerNumber: toNumber(from),
    messageRef: textOf(last.message_ref),
    campaignId: textOf(last.campaign_id) || event.campaignId,
    occurredAt: toUtc(timestamp),
    data: stated({
      last_message: messageOf(object.last_message),
      routed_via: textOf(object.routed_via),
      subject: textOf(object.subject),
      media: mediaOf(object.media),
    }),
  })
}

/** What every event about a message of the tenant has; `message` says who sent it to whom. */
function aboutMessage(event: KudosityEvent, message: JsonObject) {
  const from = textOf(message.sender)
  const to = textOf(message.recipient)
  return {
    messageId: textOf(message.id),
    from,
    to,
    phoneNumber: toNumber(from),
    peerNumber: toNumber(to),
    messageRef: textOf(message.message_ref),
    campaignId: textOf(message.campaign_id) || event.campaignId,
    occurredAt: toUtc(event.timestamp),
  }
}

function readStatus(event: KudosityEvent): EventContent {
  const { object } = event
  const id = idOf(object, 'status')
  const status = textOf(object.status)
  return createContent({
    ...aboutMessage(event, object),
    ...messageStanding('kudosity', status, id),
    type: event.type === 'MMS_STATUS' ? 'mms_status' : 'sms_status',
    dedupeKey: dedupeKey(event, id, status),
    status,
    errorCode: textOf(object.error_code),
    data: stated({
      description: textOf(object.description),
      routed_via: textOf(object.routed_via),
    }),
  })
}

/** The link is part of what tells hits apart: a phone that previews a message hits all its links at once. */
function readLinkHit(event: KudosityEvent): EventContent {
  const { hits, url, source_message } = event.object
  const source = objectOf(source_message)
  const id = idOf(source, 'link_hit.source_message')
  return createContent({
    ...aboutMessage(event, source),
    type: 'link_hit',
    dedupeKey: dedupeKey(event, id, textOf(hits), textOf(url)),
    data: stated({
      hits: wholeNumber(textOf(hits)),
      url: textOf(url),
      source_message: messageOf(source),
    }),
  })
}

function readOptOut(event: KudosityEvent): EventContent {
  const { source: by, source_message } = event.object
  const source = objectOf(source_message)
  const id = idOf(source, 'opt_out.source_message')
  return createContent({
    ...aboutMessage(event, source),
    type: 'opt_out',
    dedupeKey: dedupeKey(event, id, textOf(by)),
    data: stated({ source: textOf(by), source_message: messageOf(source) }),
  })
}

const READERS = new Map([
  ['SMS_INBOUND', { field: 'mo', read: readInbound }],
  ['MMS_INBOUND', { field: 'mo', read: readInbound }],
  ['SMS_STATUS', { field: 'status', read: readStatus }],
  ['MMS_STATUS', { field: 'status', read: readStatus }],
  ['LINK_HIT', { field: 'link_hit', read: readLinkHit }],
  ['OPT_OUT', { field: 'opt_out', read: readOptOut }],
])

/** RCS, WhatsApp and what is to come: kept and forwarded as it is, for the number that its object names. */
function readUnknown(root: JsonObject, payload: Buffer, type: string): EventContent {
  const mo = objectOf(root.mo)
  const status = objectOf(root.status)
  const from = textOf(mo.sender) || textOf(status.sender)
  const to = textOf(mo.recipient) || textOf(status.recipient)
  const isInbound = textOf(mo.recipient) !== ''
  return createContent({
    type: 'unknown',
    dedupeKey: keyOfBytes(payload),
    messageId: textOf(mo.id) || textOf(status.id),
    from,
    to,
    body: textOf(mo.message),
    phoneNumber: toNumber(isInbound ? to : from),
    peerNumber: toNumber(isInbound ? from : to),
    status: textOf(status.status),
    messageRef: textOf(status.message_ref),
    occurredAt: toUtc(textOf(root.timestamp)),
    data: { event_type: type },
  })
}

/** developers.kudosity.com/reference/about-webhooks. */
function readV2(payload: Buffer): readonly EventContent[] {
  const root = parseJsonObject(payload)
  const type = textOf(root.event_type)
  if (type === '') throw new MalformedPayloadError('event_type is missing')
  const reader = READERS.get(type)
  if (reader === undefined) return [readUnknown(root, payload, type)]
  const event: KudosityEvent = {
    type,
    timestamp: textOf(root.timestamp),
    object: objectOf(root[reader.field]),
    campaignId: textOf(root.campaign_id),
  }
  return [reader.read(event)]
}

/** V2 is JSON, V1 a query string. */
function readKudosity(payload: Buffer, contentType: string): readonly EventContent[] {
  return isForm(contentType) ? readKudosityV1(payload) : readV2(payload)
}

function openKudosity({ method, url, headers, body }: Webhook): OpenedWebhook {
  const isV1 = method === 'GET'
  const payload = isV1 ? queryOf(url) : body
  const contentType = isV1 ? FORM : JSON_TYPE
  const contents = tryRead(() => readKudosity(payload, contentType))
  return {
    claimedAccountSid: null,
    claimedNumbers: (contents.value ?? []).flatMap(({ phoneNumber }) => phoneNumber ?? []),
    // V2 is not signed: the path token, and what else the account asks of a sender, are all there is.
    verify: ({ verifyKeys }) =>
      isV1 ? verifyKudosityV1(payload, headers, verifyKeys) : { ok: true },
    payload,
    contentType: isV1 ? FORM : (headers['content-type'] ?? JSON_TYPE),
    contents: contents.get,
  }
}

export const kudosity: WebhookProvider = {
  name: 'kudosity',
  routes: [
    { method: 'post', path: '/webhooks/kudosity/{token}' },
    { method: 'get', path: '/webhooks/kudosity-v1/{token}' },
  ],
  probes: [],
  mediaTypes: [JSON_TYPE],
  verifyHeaders: ['x-transmitsms-signature'],
  open: openKudosity,
  read: readKudosity,
  answer: () => ({ status: 200, contentType: JSON_TYPE, body: '{}' }),
}
