import { randomBytes } from 'node:crypto'
import {
  assertNoLoss,
  createLedger,
  type LedgerReport,
  readLedgerFile,
} from '@switchhook/testing/ledger'
import type { SinkMail } from '@switchhook/testing/smtp-sink'
import {
  sendTwilioSms,
  type TwilioAnswer,
  type TwilioSmsOptions,
} from '@switchhook/testing/twilio-simulator'
import { waitFor } from '@switchhook/testing/wait-for'
import type { ApiDelivery } from './api.ts'
import type { Product } from './product.ts'
import { sendAgain } from './send-again.ts'
import type { Line, Tenant } from './tenant.ts'

export const SMS_PATH = '/twilio-sms-webhook'
export const SENDER = '+61400000001'

export type SmsOptions = Partial<Omit<TwilioSmsOptions, 'to'>> & {
  /** Where to connect, in place of the oldest ingress. */
  readonly baseUrl?: string
  readonly path?: string
  readonly timeoutMs?: number
}

export function newMessageSid(): string {
  return `SM${randomBytes(16).toString('hex')}`
}

/** Posts one message as Twilio would, signed for the public URL. */
export function sendSms(
  product: Product,
  tenant: Pick<Tenant, 'accountSid' | 'authToken'>,
  to: string,
  options: SmsOptions = {},
): Promise<TwilioAnswer> {
  const { baseUrl = product.ingress().url, path = SMS_PATH, ...sms } = options
  return sendTwilioSms({
    ...{ accountSid: tenant.accountSid, authToken: tenant.authToken },
    ...{ from: SENDER, body: 'Hello', ...sms, to },
    url: baseUrl + path,
    signedUrl: product.publicBaseUrl + path,
  })
}

export type SentSms = { readonly eventId: string; readonly messageSid: string }

export type LedgerOptions = {
  /** How many faults hit this very event; each allows one request more. None unless given. */
  readonly allowDuplicates?: (eventId: string) => number
  /** `at_least` where a worker died before it could tell whether its request had left. */
  readonly logRows?: 'exact' | 'at_least'
}

/** What was sent and what came of it, for events that are owed to exactly one destination each. */
export type Evidence = {
  /** Sends and notes it, again after a 503. Throws, after noting, when there was no answer or none of 2xx. */
  send(line: Line, options?: SmsOptions): Promise<SentSms & { answer: TwilioAnswer }>
  /** The same, but a 503 is an answer like others. */
  sendOnce(line: Line, options?: SmsOptions): Promise<SentSms & { answer: TwilioAnswer }>
  /** Event ids that got a 2xx. */
  readonly acked: ReadonlySet<string>
  /** Waits until every acked event is in a final state in Postgres, and nothing else is pending. */
  waitUntilSettled(timeoutMs: number): Promise<void>
  /** Throws unless I1 to I4 and I10 hold. */
  check(options?: LedgerOptions): Promise<LedgerReport>
}

type DeliveryRow = { id: string; event_id: string; state: ApiDelivery['state']; attempts: number }

export function createEvidence(product: Product, tenant: Tenant): Evidence {
  const acked = new Set<string>()
  const unknown = new Set<string>()

  async function findRows(): Promise<DeliveryRow[]> {
    const { rows } = await product.database.pool.query<DeliveryRow>(
      'select id, event_id, state, attempts from deliveries where organization_id = $1',
      [tenant.organizationId],
    )
    return rows
  }

  async function note(
    messageSid: string,
    sending: Promise<TwilioAnswer>,
  ): Promise<SentSms & { answer: TwilioAnswer }> {
    const eventId = tenant.eventIdOf(messageSid)
    let answer: TwilioAnswer
    try {
      answer = await sending
    } catch (error) {
      unknown.add(eventId)
      throw error
    }
    if (answer.status > 299) throw new Error(`answered ${answer.status}: ${answer.text}`)
    acked.add(eventId)
    return { eventId, messageSid, answer }
  }

  function sendOnce(line: Line, messageSid: string, options: SmsOptions): Promise<TwilioAnswer> {
    return sendSms(product, tenant, line.phoneNumber, { ...options, messageSid })
  }

  return {
    acked,
    send(line, options = {}) {
      const { messageSid = newMessageSid() } = options
      const sending = sendAgain(() => sendOnce(line, messageSid, options))
      return note(messageSid, sending)
    },
    sendOnce(line, options = {}) {
      const { messageSid = newMessageSid() } = options
      return note(messageSid, sendOnce(line, messageSid, options))
    },
    async waitUntilSettled(timeoutMs) {
      await waitFor(
        async () => {
          const rows = await findRows()
          const pending = rows.filter(({ state }) => state === 'pending').length
          const known = new Set(rows.map((row) => row.event_id))
          const missing = [...acked].filter((id) => !known.has(id)).length
          if (pending + missing > 0) throw new Error(`${pending} pending, ${missing} without a row`)
          return true
        },
        { timeoutMs, everyMs: 200, what: 'all deliveries to be in a final state' },
      )
    },
    async check({ allowDuplicates = () => 0, logRows = 'exact' } = {}) {
      const ledger = createLedger()
      for (const id of acked) ledger.acked(id)
      for (const id of unknown) ledger.unknown(id)
      const sent = acked.union(unknown)
      for (const entry of readLedgerFile(product.receiverLedger)) {
        if (sent.has(entry.id)) ledger.record(entry)
      }
      for (const id of product.smtp.mails.flatMap(eventIdsOf)) {
        if (sent.has(id)) ledger.emailed(id)
      }
      const shown = await tenant.api.list<ApiDelivery>('/api/v1/deliveries')
      for (const { event_id, state } of shown) ledger.terminal(event_id, state)
      const report = ledger.check({ allowDuplicates })
      assertNoLoss(report)
      await checkAttempts(product, sent, logRows)
      return report
    },
  }
}

/** The events that a fallback mail stands for: one, or those of a digest, which lists them in its attachment. */
export function eventIdsOf({ text, attachments }: SinkMail): readonly string[] {
  const id = /^event_id: (evt_\w+)$/m.exec(text ?? '')?.[1]
  if (id !== undefined) return [id]
  const [payload] = attachments
  if (payload === undefined) return []
  const { deliveries } = JSON.parse(String(payload.content)) as {
    deliveries: readonly { event_id: string }[]
  }
  return deliveries.map(({ event_id }) => event_id)
}

type AttemptsRow = { event_id: string; attempts: number; numbers: number[]; max_attempts: number }

/** I3 and I10: no more requests than allowed, numbered 1, 2, 3 …, and each of them in the log. */
async function checkAttempts(
  product: Product,
  sent: ReadonlySet<string>,
  logRows: 'exact' | 'at_least',
): Promise<void> {
  const requests = new Map<string, number>()
  for (const { headers } of product.receiver.received) {
    const id = String(headers['webhook-id'])
    requests.set(id, (requests.get(id) ?? 0) + 1)
  }
  const { rows } = await product.database.pool.query<AttemptsRow>(
    `select deliveries.event_id, deliveries.attempts, destinations.max_attempts,
            array(select attempt from webhook_logs where delivery_id = deliveries.id order by attempted_at, attempt) as numbers
       from deliveries join destinations on destinations.id = destination_id
      where deliveries.event_id = any($1)`,
    [[...sent]],
  )
  const wrong = rows.flatMap(({ event_id, attempts, numbers, max_attempts }) => {
    const seen = requests.get(event_id) ?? 0
    const isExact = logRows === 'exact'
    // Two workers that both hold the job for a moment, as after a lost lock, may give the same number.
    const unique = isExact ? numbers : [...new Set(numbers)]
    const isNumbered = unique.every((number, index) => number === index + 1)
    const isLogged = isExact ? numbers.length === seen : numbers.length >= seen
    const isWithin = seen <= max_attempts && attempts <= max_attempts
    if (isNumbered && isLogged && isWithin) return []
    return [`${event_id}: ${seen} requests of ${max_attempts}, log rows ${numbers.join(',')}`]
  })
  if (wrong.length > 0) {
    throw new Error(
      `${wrong.length} deliveries have the wrong attempts\n${wrong.slice(0, 10).join('\n')}`,
    )
  }
}
