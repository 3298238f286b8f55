import { PROVIDERS } from '@switchhook/core/event'
import { WEBHOOK_PROVIDERS } from '@switchhook/core/providers/registry'
import type { ProviderAccountRecord } from '@switchhook/core/store/provider-accounts'
import { z } from 'zod'
import { createdAtSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'

/** An account as the API shows it: never its secrets, and its path token only when it is new. */
export const accountSchema = z
  .object({
    id: z.string(),
    provider: z.enum(PROVIDERS),
    account_sid: z.string().nullable(),
    public_key: z.string().nullable(),
    allowed_cidrs: z.array(z.string()),
    has_secondary_auth_token: z.boolean(),
    has_api_key: z.boolean(),
    has_api_secret: z.boolean(),
    has_basic: z.boolean(),
    webhook_urls: z
      .array(z.string())
      .describe('To be set at the provider; `{token}` stands for what is shown only once'),
    created_at: createdAtSchema,
  })
  .meta({ id: 'ProviderAccount' })

function pathsOf({ provider, hasApiSecret }: ProviderAccountRecord): string[] {
  const routes = WEBHOOK_PROVIDERS.find(({ name }) => name === provider)?.routes ?? []
  // Kudosity's V1 callbacks are GETs, and believed for their signature alone.
  return routes.filter(({ method }) => method === 'post' || hasApiSecret).map(({ path }) => path)
}

/** `token`: the path token, in clear, of an account that has just got it. */
export function showAccount(
  publicBaseUrl: string,
  account: ProviderAccountRecord,
  token = '{token}',
): z.infer<typeof accountSchema> {
  return {
    id: account.id,
    provider: account.provider,
    account_sid: account.accountSid,
    public_key: account.publicKey,
    allowed_cidrs: [...account.allowedCidrs],
    has_secondary_auth_token: account.hasSecondaryAuthToken,
    has_api_key: account.hasApiKey,
    has_api_secret: account.hasApiSecret,
    has_basic: account.hasBasic,
    webhook_urls: pathsOf(account).map(
      (path) => publicBaseUrl + path.replace('{token}', () => token),
    ),
    created_at: toIso(account.createdAtMs),
  }
}
