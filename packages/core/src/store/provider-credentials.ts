import type { Logger } from '../log.ts'
import { decryptSecret, type KeyRing } from '../secrets.ts'
import { sealOf } from './config-changes.ts'
import type { Queryable } from './transaction.ts'

export type TwilioCredentials = {
  readonly provider: 'twilio'
  readonly accountId: string
  readonly accountSid: string
  readonly authToken: string
}

export type TelnyxCredentials = {
  readonly provider: 'telnyx'
  readonly accountId: string
  readonly apiKey: string
}

/** What the REST API of a provider asks for, in clear: for one operation, never to be kept or logged. */
export type ProviderCredentials = TwilioCredentials | TelnyxCredentials

/**
 * Of all the organization's accounts with these providers that have what their REST API asks for, oldest first.
 * One that cannot be opened (its encryption key is gone) is left out, and the log says so.
 */
export async function listProviderCredentials(
  db: Queryable,
  ring: KeyRing,
  organizationId: string,
  providers: readonly ProviderCredentials['provider'][],
  log: Logger,
): Promise<ProviderCredentials[]> {
  const rows = await db
    .selectFrom('provider_accounts')
    .select(['id', 'provider', 'account_sid', 'auth_token', 'api_key'])
    .where('organization_id', '=', organizationId)
    .where('provider', 'in', providers)
    .where('deleted_at', 'is', null)
    .orderBy('created_at')
    .orderBy('id')
    .execute()
  return rows.flatMap((row): ProviderCredentials[] => {
    const { id: accountId, account_sid: accountSid } = row
    const column = row.provider === 'twilio' ? 'auth_token' : 'api_key'
    const envelope = row[column]
    if (envelope === null) return []
    try {
      const secret = decryptSecret(ring, envelope, sealOf(accountId, column))
      if (row.provider === 'telnyx') return [{ provider: 'telnyx', accountId, apiKey: secret }]
      if (accountSid === null) return []
      return [{ provider: 'twilio', accountId, accountSid, authToken: secret }]
    } catch (error) {
      log.error({ provider_account_id: accountId, column, error }, 'secret.unreadable')
      return []
    }
  })
}
