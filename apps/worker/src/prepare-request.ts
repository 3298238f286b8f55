import type { KeyObject } from 'node:crypto'
import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { isReservedHeader } from '@switchhook/core/delivery/reserved-headers'
import { signatureHeaders, signingKey } from '@switchhook/core/delivery/signature'
import type { AcceptedEvent, Destination } from '@switchhook/core/event'
import { formatHeaders } from '@switchhook/core/formats/format'
import { formatOf } from '@switchhook/core/formats/registry'
import { contentOf } from '@switchhook/core/providers/content-of'
import type { Snapshot } from '@switchhook/core/routing/snapshot'
import { decryptSecret, type KeyRing, UnreadableSecretError } from '@switchhook/core/secrets'
import { sealOf } from '@switchhook/core/store/config-changes'
import type { AttemptRecord, DeliveryRecord } from '@switchhook/core/store/delivery-log'
import { openHeaders } from '@switchhook/core/store/destination-headers'
import { LRUCache } from 'lru-cache'
import type { EventRequest } from './post-event.ts'

/** Opening a secret costs 20 µs, a KeyObject signs five times faster than bytes: both are done once per secret. */
const MAX_CACHED_SECRETS = 10_000

/** What a destination keeps sealed, opened. */
export type OpenSecrets = {
  /** The current one first, of each kind, and the one before while it is being rotated. */
  readonly keys: readonly KeyObject[]
  /** Its own headers, by lower-case names; none that is not its to set. */
  readonly headers: Readonly<Record<string, string>>
}

/** Throws `UnreadableSecretError`. */
export type OpenDestination = (destination: Destination, nowMs: number) => OpenSecrets

function ownHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const allowed = Object.entries(headers).filter(([name]) => !isReservedHeader(name))
  return Object.fromEntries(allowed.map(([name, value]) => [name.toLowerCase(), value]))
}

export function createSecretOpener(ring: KeyRing): OpenDestination {
  const keyCache = new LRUCache<string, KeyObject>({ max: MAX_CACHED_SECRETS })
  const headerCache = new LRUCache<string, Record<string, string>>({ max: MAX_CACHED_SECRETS })

  function openKey(envelope: string, seal: string): KeyObject {
    const cached = keyCache.get(envelope)
    if (cached !== undefined) return cached
    try {
      const key = signingKey(decryptSecret(ring, envelope, seal))
      keyCache.set(envelope, key)
      return key
    } catch (cause) {
      throw new UnreadableSecretError('the signing secret cannot be opened', { cause })
    }
  }

  function openOwnHeaders(destination: Destination): Record<string, string> {
    const envelope = destination.sealedHeaders
    if (envelope === null) return ownHeaders(destination.headers)
    const cached = headerCache.get(envelope)
    if (cached !== undefined) return cached
    const headers = ownHeaders(openHeaders(ring, destination))
    headerCache.set(envelope, headers)
    return headers
  }

  return (destination, nowMs) => {
    const { id } = destination
    // A rotated secret keeps the seal of the column it was written for.
    const open = (column: string, envelope: string | null, expiresAtMs: number | null) =>
      envelope === null || (expiresAtMs ?? 0) <= nowMs
        ? []
        : [openKey(envelope, sealOf(id, column))]
    const { previousSecret, previousSecretExpiresAtMs } = destination
    const { ed25519Key, previousEd25519Key, previousEd25519KeyExpiresAtMs } = destination
    return {
      keys: [
        openKey(destination.secret, sealOf(id, 'secret')),
        ...open('secret', previousSecret, previousSecretExpiresAtMs),
        ...open('ed25519_key', ed25519Key, Number.POSITIVE_INFINITY),
        ...open('ed25519_key', previousEd25519Key, previousEd25519KeyExpiresAtMs),
      ],
      headers: openOwnHeaders(destination),
    }
  }
}

export type PreparedRequest = EventRequest & { readonly contentType: string }

/** The request of one attempt: the event in the destination's format, signed for now. */
export function prepareRequest(
  event: AcceptedEvent,
  destination: Destination,
  snapshot: Pick<Snapshot, 'findPhoneNumber'>,
  open: OpenDestination,
  nowMs: number,
): PreparedRequest {
  const secrets = open(destination, nowMs)
  const content = contentOf(event)
  const number =
    event.phoneNumber === null
      ? undefined
      : snapshot.findPhoneNumber(event.organizationId, event.phoneNumber)
  const { contentType, userAgent, body } = formatOf(destination.format)({
    event,
    content,
    destination,
    serviceId: number?.serviceId ?? '',
  })
  return {
    url: destination.url,
    timeoutMs: destination.timeoutMs,
    successRule: destination.successRule,
    contentType,
    body,
    headers: {
      // First, so that ours replace theirs.
      ...secrets.headers,
      ...formatHeaders(event),
      'content-type': contentType,
      'user-agent': userAgent,
      ...signatureHeaders(secrets.keys, event.id, nowMs, body),
    },
  }
}

/** A log is not an archive: larger requests are logged without their body. */
const MAX_LOGGED_REQUEST_BYTES = 65_536

/** The log row of one attempt. */
export function toAttemptRecord(
  attempt: number,
  attemptedAtMs: number,
  eventType: string,
  request: Pick<PreparedRequest, 'url' | 'contentType' | 'body'>,
  result: AttemptResult,
): AttemptRecord {
  const { body } = request
  return {
    attempt,
    attemptedAtMs,
    url: request.url,
    webhookType: eventType === 'mms_received' ? 'sms_received' : eventType,
    requestContentType: request.contentType,
    requestBodyBase64: body.length <= MAX_LOGGED_REQUEST_BYTES ? body.toString('base64') : null,
    statusCode: result.statusCode,
    responseBody: result.responseBody,
    responseTimeMs: result.responseTimeMs,
    outcome: result.outcome,
    error: result.error,
  }
}

type RecordedChange = Pick<
  DeliveryRecord,
  'state' | 'attempts' | 'dueAtMs' | 'fallbackAtMs' | 'reason' | 'attempt'
>

/** What the store is told about a delivery. */
export function toDeliveryRecord(job: DeliveryJob, change: RecordedChange): DeliveryRecord {
  const { event } = job
  return {
    deliveryId: job.deliveryId,
    createdAtMs: job.createdAtMs,
    eventId: event.id,
    eventReceivedAtMs: event.receivedAtMs,
    organizationId: event.organizationId,
    destinationId: job.destinationId,
    eventType: event.type,
    phoneNumber: event.phoneNumber,
    callSid: event.callSid,
    assistantId: event.assistantId,
    ...change,
  }
}
