import { stringify } from 'node:querystring'
import { type Format, USER_AGENT } from './format.ts'

/**
 * The PBX's form (url.net.au, "Receive SMS via webhook"), field for field and in its order. `webhook_url` and its
 * fallback are the configured ones, never those of a request; `timestamp` is epoch seconds of reception.
 */
export const pbx: Format = ({ event, content, destination, serviceId }) => ({
  contentType: 'application/x-www-form-urlencoded',
  userAgent: USER_AGENT,
  body: Buffer.from(
    stringify({
      service_id: serviceId,
      from: content.from,
      sms_number: content.to,
      body: content.body,
      message_id: content.messageId,
      timestamp: Math.floor(event.receivedAtMs / 1000),
      webhook_url: destination.url,
      webhook_url_fallback: destination.fallbackEmail ?? '',
    }),
  ),
})
