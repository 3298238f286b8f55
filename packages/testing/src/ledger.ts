import { appendFileSync, closeSync, openSync, readFileSync, writeSync } from 'node:fs'

/** The states a delivery can be in, as the API shows them. */
export type DeliveryState =
  | 'pending'
  | 'delivered'
  | 'emailed'
  | 'given_up'
  | 'expired'
  | 'cancelled'

/**
 * One thing that somebody saw. `id` names one owed delivery: the event id where an event has one
 * destination, otherwise whatever the test makes of event and destination.
 *
 * - `acked`: the sender got a 2xx; written only after it.
 * - `unknown`: the sender got a timeout or a reset: it may exist or not, so it cannot be lost.
 * - `delivered`: the receiver answered it with a 2xx. `webhookId` is the header it came with.
 * - `attempted`: the receiver saw it and did not answer 2xx.
 * - `emailed`: a fallback mail arrived.
 * - `terminal`: the API shows this state.
 */
export type LedgerEntry =
  | { kind: 'acked' | 'unknown' | 'attempted' | 'emailed'; id: string }
  | { kind: 'delivered'; id: string; webhookId: string }
  | { kind: 'terminal'; id: string; state: DeliveryState }

export type LedgerReport = {
  /** Distinct ids with a 2xx. */
  acked: number
  /** Distinct ids of unknown fate that were not also acked. */
  unknown: number
  /** Distinct ids that the receiver took. */
  delivered: number
  /** Requests that the receiver did not answer 2xx. */
  attempted: number
  /** Deliveries beyond the first of an id, summed over all ids. */
  duplicates: number
  /** Distinct ids mailed. */
  emailed: number
  /** I1: acked, and neither received, nor mailed, nor visibly given up, expired, cancelled or pending. */
  lost: string[]
  /** I2: received more often than 1 + what `allowDuplicates` allows. */
  tooManyDeliveries: { id: string; delivered: number; allowed: number }[]
  /** I2: duplicates that came with another `webhook-id`. */
  changedWebhookId: { id: string; webhookIds: string[] }[]
  /** I4 */
  mailedTwice: string[]
  /** I4 */
  mailedThoughDelivered: string[]
  /** Received although nobody sent it. Not a violation: a killed sender may not have noted it. */
  unexpected: string[]
}

export type Ledger = {
  acked(id: string): void
  unknown(id: string): void
  delivered(id: string, webhookId: string): void
  attempted(id: string): void
  emailed(id: string): void
  terminal(id: string, state: DeliveryState): void
  /** Takes an entry of a ledger file. */
  record(entry: LedgerEntry): void
  /** `allowDuplicates` says how many faults hit this very id; each allows one more delivery. */
  check(options: { allowDuplicates: (id: string) => number }): LedgerReport
}

/** What the API may say of an undelivered event without it being lost. 'delivered' and 'emailed' need the receipt itself. */
const EXPLAINED: ReadonlySet<DeliveryState> = new Set([
  'pending',
  'given_up',
  'expired',
  'cancelled',
])

/** Allocates the oracle of faults and load: a Jepsen-style set that knows what was sent and what arrived. */
export function createLedger(): Ledger {
  const acked = new Set<string>()
  const unknown = new Set<string>()
  const delivered = new Map<string, { times: number; webhookIds: Set<string> }>()
  const emailed = new Map<string, number>()
  const terminal = new Map<string, DeliveryState>()
  let attempted = 0

  const ledger: Ledger = {
    acked: (id) => void acked.add(id),
    unknown: (id) => void unknown.add(id),
    delivered(id, webhookId) {
      const seen = delivered.get(id)
      if (seen === undefined) {
        delivered.set(id, { times: 1, webhookIds: new Set([webhookId]) })
      } else {
        seen.times += 1
        seen.webhookIds.add(webhookId)
      }
    },
    attempted() {
      attempted += 1
    },
    emailed: (id) => void emailed.set(id, (emailed.get(id) ?? 0) + 1),
    terminal: (id, state) => void terminal.set(id, state),
    record(entry) {
      if (entry.kind === 'delivered') ledger.delivered(entry.id, entry.webhookId)
      else if (entry.kind === 'terminal') ledger.terminal(entry.id, entry.state)
      else ledger[entry.kind](entry.id)
    },
    check({ allowDuplicates }) {
      const isExplained = (id: string) => {
        const state = terminal.get(id)
        return delivered.has(id) || emailed.has(id) || (state !== undefined && EXPLAINED.has(state))
      }
      const received = [...delivered].map(([id, { times, webhookIds }]) => ({
        id,
        delivered: times,
        allowed: 1 + allowDuplicates(id),
        webhookIds: [...webhookIds],
      }))
      return {
        acked: acked.size,
        unknown: unknown.difference(acked).size,
        delivered: delivered.size,
        attempted,
        duplicates: received.reduce((sum, one) => sum + one.delivered - 1, 0),
        emailed: emailed.size,
        lost: [...acked].filter((id) => !isExplained(id)),
        tooManyDeliveries: received
          .filter((one) => one.delivered > one.allowed)
          .map(({ id, delivered, allowed }) => ({ id, delivered, allowed })),
        changedWebhookId: received
          .filter((one) => one.webhookIds.length > 1)
          .map(({ id, webhookIds }) => ({ id, webhookIds })),
        mailedTwice: [...emailed].filter(([, times]) => times > 1).map(([id]) => id),
        mailedThoughDelivered: [...emailed.keys()].filter((id) => delivered.has(id)),
        unexpected: [...delivered.keys()].filter((id) => !acked.has(id) && !unknown.has(id)),
      }
    },
  }
  return ledger
}

const SHOWN_IDS = 10

/** Throws an Error with a readable summary unless I1 (no acked loss), I2 (duplicates) and I4 (mail) hold. */
export function assertNoLoss(report: LedgerReport): void {
  const violations: [string, string[]][] = [
    ['acked and lost', report.lost],
    [
      'delivered too often',
      report.tooManyDeliveries.map((one) => `${one.id} (${one.delivered}, allowed ${one.allowed})`),
    ],
    [
      'delivered with changing webhook-ids',
      report.changedWebhookId.map((one) => `${one.id} (${one.webhookIds.join(', ')})`),
    ],
    ['mailed twice', report.mailedTwice],
    ['mailed though delivered', report.mailedThoughDelivered],
  ]
  const lines = violations
    .filter(([, ids]) => ids.length > 0)
    .map(([what, ids]) => `${ids.length} ${what}: ${shorten(ids)}`)
  if (lines.length === 0) return
  const { acked, unknown, delivered, attempted, duplicates, emailed } = report
  const counts = { acked, unknown, delivered, attempted, duplicates, emailed }
  throw new Error(`the ledger does not add up\n${lines.join('\n')}\n${JSON.stringify(counts)}`)
}

function shorten(ids: string[]): string {
  const rest = ids.length - SHOWN_IDS
  return ids.slice(0, SHOWN_IDS).join(', ') + (rest > 0 ? `, … and ${rest} more` : '')
}

/**
 * Appends one entry to a ledger file that several processes may write at once. When it returns the
 * entry survives the death of this process (not of the machine).
 */
export function appendLedgerLine(file: string, entry: LedgerEntry): void {
  appendFileSync(file, `${JSON.stringify(entry)}\n`)
}

export type LedgerFile = { append(entry: LedgerEntry): void; close(): void }

/** The same as `appendLedgerLine` for thousands of entries per second: the file stays open. */
export function openLedgerFile(file: string): LedgerFile {
  const fd = openSync(file, 'a')
  return {
    append: (entry) => void writeSync(fd, `${JSON.stringify(entry)}\n`),
    close: () => closeSync(fd),
  }
}

/**
 * Reads a ledger file. A last line without its newline belongs to a writer that died and is left
 * out; any other broken line throws.
 */
export function readLedgerFile(file: string): LedgerEntry[] {
  const lines = readFileSync(file, 'utf8').split('\n')
  lines.pop()
  return lines.map((line, index) => {
    try {
      return JSON.parse(line) as LedgerEntry
    } catch (cause) {
      throw new Error(`${file}:${index + 1} is not a ledger line: ${line.slice(0, 200)}`, { cause })
    }
  })
}
