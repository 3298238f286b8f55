import type { KeyObject } from 'node:crypto'
import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { signatureHeaders, signingKey } from '@switchhook/core/delivery/signature'
import type { AcceptedEvent, Destination } from '@switchhook/core/event'
import { formatHeaders } from '@switchhook/core/formats/format'
import { formatOf } from '@switchhook/core/formats/registry'
import { contentOf } from '@switchhook/core/providers/content-of'
import type { Snapshot } from '@switchhook/core/routing/snapshot'
import { decryptSecret, type KeyRing } from '@switchhook/core/secrets'
import { sealOf } from '@switchhook/core/store/config-changes'
import type { AttemptRecord, DeliveryRecord } from '@switchhook/core/store/delivery-log'
import { LRUCache } from 'lru-cache'
import type { EventRequest } from './post-event.ts'

/** Opening a secret costs 20 µs, a KeyObject signs five times faster than bytes: both are done once per secret. */
const MAX_CACHED_KEYS = 10_000

/** A key is missing from ENCRYPTION_KEYS, or the secret's text was changed. */
export class UnreadableSecretError extends Error {
  override readonly name = 'UnreadableSecretError'
}

/** Throws `UnreadableSecretError`. */
export type SigningKeys = (destination: Destination, nowMs: number) => readonly KeyObject[]

export function createSigningKeys(ring: KeyRing): SigningKeys {
  const cache = new LRUCache<string, KeyObject>({ max: MAX_CACHED_KEYS })
  function openKey(envelope: string, seal: string): KeyObject {
    const cached = cache.get(envelope)
    if (cached !== undefined) return cached
    try {
      const key = signingKey(decryptSecret(ring, envelope, seal))
      cache.set(envelope, key)
      return key
    } catch (cause) {
      throw new UnreadableSecretError('the signing secret cannot be opened', { cause })
    }
  }
  return (destination, nowMs) => {
    const { id, secret, previousSecret, previousSecretExpiresAtMs } = destination
    // A rotated secret keeps the seal of the column it was written for.
    const current = openKey(secret, sealOf(id, 'secret'))
    const overlaps = previousSecret !== null && (previousSecretExpiresAtMs ?? 0) > nowMs
    return overlaps ? [current, openKey(previousSecret, sealOf(id, 'secret'))] : [current]
  }
}

export type PreparedRequest = EventRequest & { readonly contentType: string }

/** The request of one attempt: the event in the destination's format, signed for now. */
export function prepareRequest(
  event: AcceptedEvent,
  destination: Destination,
  snapshot: Pick<Snapshot, 'findPhoneNumber'>,
  keys: SigningKeys,
  nowMs: number,
): PreparedRequest {
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
      // In lower case, so that ours replace theirs however they are spelled.
      ...Object.fromEntries(
        Object.entries(destination.headers).map(([name, value]) => [name.toLowerCase(), value]),
      ),
      ...formatHeaders(event),
      'content-type': contentType,
      'user-agent': userAgent,
      ...signatureHeaders(keys(destination, nowMs), event.id, nowMs, body),
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
