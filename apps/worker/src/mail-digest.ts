import type { AcceptedEvent } from '@switchhook/core/event'
import { bareContent, contentOf } from '@switchhook/core/providers/content-of'
import type { EventContent } from '@switchhook/core/providers/provider'
import type { DigestLine } from '@switchhook/core/store/mail-digest-lines'
import { clean, escapeHtml, type FallbackMail, oneLine } from './fallback-mail.ts'

/** One delivery of `payload.json`: the fields of the PBX, what happened, and the whole message. */
export type DigestEntry = Readonly<Record<string, string | number | readonly string[]>>

export type DigestMailInput = {
  readonly digestId: string
  readonly to: string
  readonly destinationId: string
  readonly destinationName: string
  /** Oldest first; as many as fit. */
  readonly entries: readonly DigestEntry[]
  /** Deliveries that the mail stands for, those without an entry included. */
  readonly total: number
  readonly replayUrl: string
  readonly replayUntilMs: number
  readonly publicBaseUrl: string
}

/** In the mail itself; `payload.json` holds more. */
const MAX_SHOWN = 100
const MAX_SHOWN_CHARACTERS = 300
const MAX_FACT_CHARACTERS = 500
const MAX_BODY_CHARACTERS = 2_000
const MAX_NAME_CHARACTERS = 80

/** What cannot be read is still named. */
function readOrLeaveOut(event: AcceptedEvent): EventContent {
  try {
    return contentOf(event)
  } catch {
    return bareContent(event)
  }
}

export function toDigestEntry({ deliveryId, attempts, reason, event }: DigestLine): DigestEntry {
  const { whole } = event
  const content = whole && readOrLeaveOut(whole)
  const fact = (text: string | null | undefined): string => oneLine(text ?? '', MAX_FACT_CHARACTERS)
  return {
    delivery_id: deliveryId,
    event_id: event.id,
    event_type: event.type,
    received_at: new Date(event.receivedAtMs).toISOString(),
    from: fact(content?.from || whole?.peerNumber),
    sms_number: fact(content?.to || event.phoneNumber),
    message_id: fact(content?.messageId),
    body: clean(content?.body ?? '')
      .slice(0, MAX_BODY_CHARACTERS)
      .toWellFormed(),
    media_urls: (content?.mediaUrls ?? []).map((url) => fact(url)),
    attempts,
    last_error: fact(reason),
  }
}

const timeOf = (iso: string): string => `${iso.slice(0, 16).replace('T', ' ')} UTC`

type Shown = {
  readonly heading: string
  readonly message: string
  readonly facts: readonly (readonly [name: string, value: string])[]
}

function show(entry: DigestEntry): Shown {
  const parties = [entry.from, entry.sms_number].filter((one) => one !== '').join(' to ')
  const [received, type] = [String(entry.received_at), String(entry.event_type)]
  return {
    heading: [timeOf(received), type, parties].filter((one) => one !== '').join('  '),
    message: oneLine(String(entry.body), MAX_SHOWN_CHARACTERS),
    facts: (['event_id', 'delivery_id', 'attempts', 'last_error'] as const).map(
      (name) => [name, String(entry[name])] as const,
    ),
  }
}

/** The one mail of many deliveries to one destination that could not be made. Pure; both parts say the same. */
export function createDigestMail(input: DigestMailInput): FallbackMail {
  const { entries, total, publicBaseUrl, destinationId } = input
  const name = oneLine(input.destinationName, MAX_NAME_CHARACTERS) || destinationId
  const shown = entries.slice(0, MAX_SHOWN).map(show)
  const intro = `${total} more deliveries to your destination "${name}" (${destinationId}) could not be made. Nothing else will be sent for them.`
  const listed = entries.length - shown.length
  const rest = total - entries.length
  const beyond = [
    listed > 0 ? `${listed} more are in payload.json.` : '',
    rest > 0 ? `${rest} more are listed by the API only.` : '',
  ].filter((one) => one !== '')
  const replay = `Send all of them again (one click, until ${timeOf(new Date(input.replayUntilMs).toISOString())}):`
  const query = `destination=${destinationId}&state=emailed`
  const link = `All of them (with your API key): ${publicBaseUrl}/api/v1/deliveries?${query}`
  const text = [
    intro,
    '',
    `${replay} ${input.replayUrl}`,
    '',
    ...shown.flatMap(({ heading, message, facts }) => [
      heading,
      ...(message === '' ? [] : [`  ${message}`]),
      ...facts.map(([fact, value]) => `  ${fact}: ${value}`),
      '',
    ]),
    ...beyond,
    link,
    '',
  ].join('\n')
  const rows = shown.map(({ heading, message, facts }) => {
    const lines = facts.map(([fact, value]) => `${escapeHtml(fact)}: ${escapeHtml(value)}`)
    return `<tr><td><b>${escapeHtml(heading)}</b><br>${escapeHtml(message)}<br><small>${lines.join('<br>')}</small></td></tr>`
  })
  const html = [
    '<!doctype html><html><body style="font-family:sans-serif">',
    `<p>${escapeHtml(intro)}</p>`,
    `<p>${escapeHtml(replay)}<br><a href="${escapeHtml(input.replayUrl)}">${escapeHtml(input.replayUrl)}</a></p>`,
    `<table cellpadding="4">${rows.join('')}</table>`,
    ...beyond.map((line) => `<p>${escapeHtml(line)}</p>`),
    `<p>${escapeHtml(link)}</p>`,
    '</body></html>',
  ].join('\n')
  return {
    to: input.to,
    subject: `[Switchhook] ${total} deliveries to ${name} were not made`,
    text,
    html,
    messageId: `<${input.digestId}@switchhook>`,
    payload: Buffer.from(JSON.stringify({ digest_id: input.digestId, total, deliveries: entries })),
  }
}
