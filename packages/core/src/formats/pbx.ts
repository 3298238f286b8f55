import { stringify } from 'node:querystring'
import type { AcceptedEvent } from '../event.ts'
import type { EventContent } from '../providers/provider.ts'
import { type Format, sidesOf, USER_AGENT } from './format.ts'
import { sentenceOf } from './sentence.ts'

/** Epoch seconds of reception; what comes from a PBX keeps the PBX's own (contract, Fine print 12). */
function timestampOf({ provider, receivedAtMs }: AcceptedEvent, { data }: EventContent): number {
  const own = provider === 'pbx' ? Number(data.timestamp || Number.NaN) : Number.NaN
  return Number.isSafeInteger(own) && own > 0 ? own : Math.floor(receivedAtMs / 1000)
}

function serviceOf({ provider }: AcceptedEvent, { data }: EventContent): string {
  return provider === 'pbx' && typeof data.service_id === 'string' ? data.service_id : ''
}

/**
 * The PBX's form (url.net.au, "Receive SMS via webhook"), field for field and in its order. `webhook_url` and its
 * fallback are the configured ones, never those of a request. The form knows messages only: of any other event that the
 * destination wants, `body` is a plain sentence. Text that is no Unicode (a lone surrogate) becomes U+FFFD.
 */
export const pbx: Format = ({ event, content, destination, serviceId }) => {
  const { here, there } = sidesOf(event, content)
  return {
    contentType: 'application/x-www-form-urlencoded',
    userAgent: USER_AGENT,
    body: Buffer.from(
      stringify({
        service_id: (serviceId || serviceOf(event, content)).toWellFormed(),
        // Always the other side's, also of a status of what was sent.
        from: there.toWellFormed(),
        sms_number: here.toWellFormed(),
        body: sentenceOf(event, content).toWellFormed(),
        // A PBX tells messages apart by it: an event that is about none goes by its call's or its own.
        message_id: (content.messageId || event.callSid || event.id).toWellFormed(),
        timestamp: timestampOf(event, content),
        webhook_url: destination.url,
        webhook_url_fallback: destination.fallbackEmail ?? '',
      }),
    ),
  }
}
