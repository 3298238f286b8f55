import { withDeadline } from '@switchhook/core/deadline'
import { quarantineId } from '@switchhook/core/ids'
import type { Logger } from '@switchhook/core/log'
import type { OpenedWebhook, WebhookProvider } from '@switchhook/core/providers/provider'
import type { ProviderAccount } from '@switchhook/core/routing/snapshot'
import type { Spool } from '@switchhook/core/spool'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import { insertQuarantined, type QuarantinedWebhook } from '@switchhook/core/store/quarantine'
import type { SentWebhook } from './verify-webhook.ts'

export type QuarantineDeps = {
  readonly pool: DatabaseHandle['pool']
  readonly spool: Pick<Spool, 'addQuarantined'>
  readonly keepForMs: number
  readonly log: Logger
}

/** A webhook on its way into quarantine. */
export type Refused = {
  readonly provider: WebhookProvider
  readonly webhook: SentWebhook
  readonly opened: OpenedWebhook
  readonly target: string
  readonly receivedAtMs: number
  readonly reason: string
  readonly detail: string
}

export type Quarantine = {
  /** Keeps what failed verification, if there is room and Postgres answers. Never throws. */
  hold(refused: Refused, candidates: readonly ProviderAccount[]): Promise<void>
  /** Keeps an authentic one, durably: false when neither store took it. */
  holdAuthentic(refused: Refused, account: ProviderAccount): Promise<boolean>
}

const MAX_FORGED_BYTES = 64 * 1024
/** Nobody waits long for an answer that says no; a flood of them must not fill the pool's queue. */
const MAX_HOLDING = 20
const HOLD_TIMEOUT_MS = 300
const HOLD_AUTHENTIC_TIMEOUT_MS = 600
const MAX_TEXT = 256

/** Postgres text takes no NUL. */
const clean = (text: string): string => text.replaceAll('\0', '').toWellFormed().slice(0, MAX_TEXT)

function headersOf({ provider, webhook }: Refused): Record<string, string> {
  return Object.fromEntries(
    ['content-type', ...provider.verifyHeaders].flatMap((name) => {
      const value = webhook.headers[name]
      return typeof value === 'string' && name !== 'authorization' ? [[name, clean(value)]] : []
    }),
  )
}

function toRow(
  refused: Refused,
  account: ProviderAccount | undefined,
  organizationId: string | null,
  isAuthentic: boolean,
  keepForMs: number,
): QuarantinedWebhook {
  const { provider, webhook, opened, target, reason, receivedAtMs } = refused
  const body = webhook.body.toString('base64')
  return {
    id: quarantineId(organizationId ?? '', provider.name, webhook.method, target, body),
    ...{ organizationId, isAuthentic, target, reason, receivedAtMs },
    provider: provider.name,
    providerAccountId: account?.id ?? null,
    claimedAccountSid: opened.claimedAccountSid && clean(opened.claimedAccountSid),
    claimedNumbers: opened.claimedNumbers.slice(0, 50).map(clean),
    detail: refused.detail,
    method: webhook.method,
    headers: headersOf(refused),
    clientIp: webhook.clientIp,
    body: webhook.body,
    expiresAtMs: receivedAtMs + keepForMs,
  }
}

export function createQuarantine(deps: QuarantineDeps): Quarantine {
  let holding = 0
  return {
    async hold(refused, candidates) {
      const { webhook, target } = refused
      const bytes = webhook.body.length + target.length
      if (bytes > MAX_FORGED_BYTES || holding >= MAX_HOLDING) return
      holding += 1
      const tenants = new Set(candidates.map(({ organizationId }) => organizationId))
      const [tenant] = tenants.size === 1 ? tenants : []
      const account = candidates.length === 1 ? candidates[0] : undefined
      try {
        const row = toRow(refused, account, tenant ?? null, false, deps.keepForMs)
        await withDeadline(insertQuarantined(deps.pool, row), HOLD_TIMEOUT_MS, 'quarantine')
      } catch (error) {
        deps.log.warn({ error }, 'quarantine.failed')
      } finally {
        holding -= 1
      }
    },
    async holdAuthentic(refused, account) {
      const row = toRow(refused, account, account.organizationId, true, deps.keepForMs)
      try {
        const inserting = insertQuarantined(deps.pool, row)
        await withDeadline(inserting, HOLD_AUTHENTIC_TIMEOUT_MS, 'quarantine')
        return true
      } catch (error) {
        deps.log.warn({ error }, 'quarantine.spooled')
      }
      try {
        await withDeadline(deps.spool.addQuarantined(row), HOLD_AUTHENTIC_TIMEOUT_MS, 'spool')
        return true
      } catch (error) {
        deps.log.error({ error }, 'quarantine.lost')
        return false
      }
    },
  }
}
