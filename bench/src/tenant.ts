import { createSigningSecret } from '@switchhook/core/delivery/signature'
import { eventId } from '@switchhook/core/ids'
import { encryptSecret, type KeyRing } from '@switchhook/core/secrets'
import { sealOf } from '@switchhook/core/store/config-changes'
import type { DatabaseHandle } from '@switchhook/core/store/database'

/** The one tenant of a bench: one Twilio account, one number, one destination. */
export const TENANT = {
  organizationId: 'org_bench',
  accountSid: 'AC00000000000000000000000000000000',
  authToken: '0123456789abcdef0123456789abcdef',
  phoneNumber: '+14155550100',
  destinationId: 'dst_bench',
  publicBaseUrl: 'https://hooks.example.com',
  webhookPath: '/twilio-sms-webhook',
} as const

/** The id of the nth message of a run; `run` is 16 hex digits. */
export function messageSid(run: string, sequence: number): string {
  return `SM${run}${sequence.toString(16).padStart(16, '0')}`
}

/** The id that the ingress derives for it, which is also the `webhook-id` of its delivery. */
export function eventIdOf(run: string, sequence: number): string {
  return eventId(TENANT.organizationId, 'twilio', messageSid(run, sequence))
}

/** Writes the tenant's rows; no API is needed for it. */
export async function seedTenant(
  { db }: DatabaseHandle,
  ring: KeyRing,
  destinationUrl: string,
): Promise<void> {
  const { organizationId, accountSid, authToken, phoneNumber, destinationId } = TENANT
  await db.insertInto('organizations').values({ id: organizationId, name: 'Bench' }).execute()
  await db
    .insertInto('provider_accounts')
    .values({
      id: 'pac_bench',
      organization_id: organizationId,
      provider: 'twilio',
      account_sid: accountSid,
      auth_token: encryptSecret(ring, authToken, sealOf('pac_bench', 'auth_token')),
      secondary_auth_token: null,
    })
    .execute()
  await db
    .insertInto('phone_numbers')
    .values({
      organization_id: organizationId,
      phone_number: phoneNumber,
      provider: 'twilio',
      assistant_id: null,
      service_id: 'service-1',
      webhook_url: null,
      webhook_url_fallback: null,
    })
    .execute()
  await db
    .insertInto('destinations')
    .values({
      id: destinationId,
      organization_id: organizationId,
      name: 'receiver',
      url: destinationUrl,
      format: 'burki',
      event_types: ['*'],
      assistant_id: null,
      phone_number: null,
      filter: null,
      fallback_email: null,
      success_rule: '2xx',
      timeout_ms: 5_000,
      max_attempts: 10,
      delays_seconds: [1, 5, 30],
      jitter: true,
      rate_limit_per_second: null,
      max_concurrency: 10_000,
      freshness_seconds: null,
      headers: '{}',
      status: 'active',
      secret: encryptSecret(ring, createSigningSecret(), sealOf(destinationId, 'secret')),
      previous_secret: null,
      previous_secret_expires_at: null,
      implied_by: null,
    })
    .execute()
}
