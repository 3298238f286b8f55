import type { AcceptedEvent } from '@switchhook/core/event'
import type { EventContent } from '@switchhook/core/providers/provider'

/** One address, both parts, and the event's body as it came. */
export type FallbackMail = {
  readonly to: string
  readonly subject: string
  readonly text: string
  readonly html: string
  /** Stable per delivery: a mail sent twice is one mail to whoever reads it. */
  readonly messageId: string
  /** Attached as payload.json; null for a mail that stands for no delivery. */
  readonly payload: Buffer | null
}

export type FallbackMailInput = {
  readonly deliveryId: string
  readonly to: string
  readonly reason: string
  readonly attempts: number
  readonly event: AcceptedEvent
  readonly content: EventContent
  readonly serviceId: string
  readonly webhookUrl: string
  readonly publicBaseUrl: string
  readonly replayUrl: string
  readonly replayUntilMs: number
}

const MAX_SUBJECT_CHARACTERS = 200
/** As long as the longest URL of a destination. */
const MAX_FACT_CHARACTERS = 2_048

/** Control characters but tab and line feed: nothing that a header or a terminal would obey. */
export function clean(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replaceAll(/[^\P{Cc}\t\n]/gu, '')
    .toWellFormed()
}

export function oneLine(text: string, maxCharacters: number): string {
  return clean(text).replaceAll(/\s+/g, ' ').trim().slice(0, maxCharacters).toWellFormed()
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? '')
}

/** Every field the PBX would have posted (url.net.au), then what happened. */
function factsOf(input: FallbackMailInput): readonly (readonly [name: string, value: string])[] {
  const { event, content } = input
  return [
    ['service_id', input.serviceId],
    ['from', content.from],
    ['sms_number', content.to || (event.phoneNumber ?? '')],
    ['message_id', content.messageId],
    ['timestamp', String(Math.floor(event.receivedAtMs / 1000))],
    ['webhook_url', input.webhookUrl],
    ['webhook_url_fallback', input.to],
    ...content.mediaUrls.map((url, index) => [`media_url_${index}`, url] as const),
    ...(event.callSid === null ? [] : [['call_sid', event.callSid] as const]),
    ['event_type', event.type],
    ['event_id', event.id],
    ['delivery_id', input.deliveryId],
    ['attempts', String(input.attempts)],
    ['last_error', input.reason],
  ].map(([name = '', value = '']) => [name, oneLine(value, MAX_FACT_CHARACTERS)] as const)
}

/** The mail that stands for a delivery which could not be made. Pure; both parts say the same. */
export function createFallbackMail(input: FallbackMailInput): FallbackMail {
  const { event, content } = input
  const facts = factsOf(input)
  const message = clean(content.body)
  const number = content.to || (event.phoneNumber ?? '')
  const intro = `This ${event.type} could not be delivered to your webhook after ${input.attempts} attempts. Nothing else will be sent for it.`
  const title = `[Switchhook] ${event.type} for ${number || event.id} was not delivered`
  const link = `${input.publicBaseUrl}/api/v1/deliveries/${input.deliveryId}`
  const until = new Date(input.replayUntilMs).toISOString().slice(0, 16).replace('T', ' ')
  const replay = `Send it again (one click, until ${until} UTC):`
  const text = [
    intro,
    '',
    ...(message === '' ? [] : ['Message:', '', message, '']),
    ...facts.map(([name, value]) => `${name}: ${value}`),
    '',
    `${replay} ${input.replayUrl}`,
    `All attempts (with your API key): ${link}`,
    '',
  ].join('\n')
  const rows = facts.map(
    ([name, value]) =>
      `<tr><th align="left">${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`,
  )
  const html = [
    '<!doctype html><html><body style="font-family:sans-serif">',
    `<p>${escapeHtml(intro)}</p>`,
    message === '' ? '' : `<pre style="white-space:pre-wrap">${escapeHtml(message)}</pre>`,
    `<table cellpadding="4">${rows.join('')}</table>`,
    `<p>${escapeHtml(replay)}<br><a href="${escapeHtml(input.replayUrl)}">${escapeHtml(input.replayUrl)}</a></p>`,
    `<p>All attempts (with your API key): ${escapeHtml(link)}</p>`,
    '</body></html>',
  ].join('\n')
  return {
    to: input.to,
    subject: oneLine(title, MAX_SUBJECT_CHARACTERS),
    text,
    html,
    messageId: `<${input.deliveryId}@switchhook>`,
    payload: event.payload,
  }
}
