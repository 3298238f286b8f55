import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '@switchhook/core/log'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import { LOCKS, runAsLeader } from '@switchhook/core/store/leader'
import {
  findLostMails,
  findNoticeDay,
  findNoticePeriod,
  type LostMails,
  noteNotice,
} from '@switchhook/core/store/operator-notices'
import { escapeHtml, type FallbackMail, oneLine } from './fallback-mail.ts'
import type { MailSender } from './send-mail.ts'

export type OperatorNoticeDeps = {
  readonly pool: DatabaseHandle['pool']
  readonly sender: Pick<MailSender, 'send'>
  readonly to: string
  /** How far back the first notice looks. */
  readonly retentionDays: number
  readonly log: Logger
}

const EVERY_MS = 60_000
const MAX_REASON_CHARACTERS = 300

function createNotice(
  to: string,
  day: string,
  since: Date,
  lost: readonly LostMails[],
): FallbackMail {
  const total = lost.reduce((sum, { count }) => sum + count, 0)
  const intro = `Since ${since.toISOString().slice(0, 16).replace('T', ' ')} (UTC) ${total} deliveries were given up: neither their destination nor the mail server took them. Their events are kept, and can be replayed through the API.`
  const lines = lost.map(
    ({ count, organizationId, destinationId, reason }) =>
      `${count}  ${destinationId} of ${organizationId}: ${oneLine(reason, MAX_REASON_CHARACTERS)}`,
  )
  const rows = lines.map((line) => `<li>${escapeHtml(line)}</li>`)
  return {
    to,
    subject: `[Switchhook] ${total} deliveries were given up`,
    text: [intro, '', ...lines, ''].join('\n'),
    html: `<!doctype html><html><body><p>${escapeHtml(intro)}</p><ul>${rows.join('')}</ul></body></html>`,
    messageId: `<operator-${day}@switchhook>`,
    payload: null,
  }
}

/**
 * Tells whoever runs this of deliveries whose mail failed for good since the last such notice: one mail a day (UTC), none
 * when there is nothing to tell. Killed between the mail server's 250 and the note, it is sent once more under the same
 * Message-ID.
 */
export async function sendOperatorNotice(deps: OperatorNoticeDeps): Promise<void> {
  const { pool, log } = deps
  const day = await findNoticeDay(pool)
  if (day === undefined) return
  await runAsLeader(pool, LOCKS.operatorNotices, async () => {
    if ((await findNoticeDay(pool)) !== day) return
    const period = await findNoticePeriod(pool, deps.retentionDays)
    const lost = await findLostMails(pool, period)
    if (lost.length === 0) return
    const result = await deps.sender.send(createNotice(deps.to, day, period.since, lost))
    if (result.kind === 'sent') await noteNotice(pool, day, period.until)
    else log.warn({ error: result.error }, 'operator_notice.failed')
  })
}

/** Looks every minute. Returns a function that stops it. */
export function startOperatorNotices(deps: OperatorNoticeDeps): () => Promise<void> {
  const stopping = new AbortController()
  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await sendOperatorNotice(deps).catch((error: unknown) => {
        deps.log.warn({ error }, 'operator_notice.failed')
      })
      await sleep(EVERY_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  const running = run()
  return async () => {
    stopping.abort()
    await running
  }
}
