import { blockListOf } from '@switchhook/core/cidr'
import type { ProviderName } from '@switchhook/core/event'
import { parseTelnyxPublicKey } from '@switchhook/core/providers/telnyx-key'
import type {
  ProviderAccountFields,
  ProviderSecrets,
} from '@switchhook/core/store/provider-accounts'
import { z } from 'zod'
import { invalidField } from './api-error.ts'

const MAX_CIDRS = 50

/** Goes into a header or a key as it is. */
const secretSchema = z
  .string()
  .regex(/^[\x21-\x7e]{1,200}$/, 'Must be 1 to 200 visible ASCII characters')
  .meta({ writeOnly: true })

function isCidr(text: string): boolean {
  try {
    blockListOf([text])
    return text.length <= 49
  } catch {
    return false
  }
}

const accountSid = z
  .string()
  .regex(/^AC[0-9A-Za-z]{32}$/, 'Must be "AC" and 32 letters or digits')
  .describe('Twilio calls it Account SID')

const secondaryAuthToken = secretSchema
  .nullable()
  .describe('While tokens are rotated: signatures of both hold; null takes it away')

const publicKey = z
  .string()
  .max(200)
  .refine(
    (text) => parseTelnyxPublicKey(text) !== undefined,
    'Must be an Ed25519 public key as Telnyx shows it: base64 of 32 bytes, and no weak key',
  )
  .describe('From Keys & Credentials of the Telnyx portal')

const basicSchema = z
  .strictObject({
    username: z.string().regex(/^[^:\p{Cc}]{1,200}$/u, 'Must be 1 to 200 characters without ":"'),
    password: z.string().regex(/^\P{Cc}{1,200}$/u, 'Must be 1 to 200 characters'),
  })
  .nullable()
  .meta({ writeOnly: true })
  .describe('What the URL asks for besides its token; null asks for nothing')

const allowedCidrs = z
  .array(z.string().refine(isCidr, 'Must be a CIDR such as 203.0.113.0/24 or 2001:db8::/32'))
  .max(MAX_CIDRS)
  .describe('Where its webhooks may come from; empty: from anywhere')

const apiKey = secretSchema.nullable().describe("For Telnyx's API, to change numbers there")
const apiSecret = secretSchema.nullable().describe("Signs Kudosity's V1 callbacks")

const unsigned = { basic: basicSchema.optional(), allowed_cidrs: allowedCidrs.optional() }

/** What each provider's account is made of; the provider itself decides which. */
const FIELDS = {
  twilio: {
    account_sid: accountSid,
    auth_token: secretSchema,
    secondary_auth_token: secondaryAuthToken.optional(),
  },
  telnyx: { public_key: publicKey, api_key: apiKey.optional() },
  kudosity: { ...unsigned, api_secret: apiSecret.optional() },
  pbx: unsigned,
} as const

/** The body of POST. */
export const newAccount = z
  .discriminatedUnion('provider', [
    z.strictObject({ provider: z.literal('twilio'), ...FIELDS.twilio }),
    z.strictObject({ provider: z.literal('telnyx'), ...FIELDS.telnyx }),
    z.strictObject({ provider: z.literal('kudosity'), ...FIELDS.kudosity }),
    z.strictObject({ provider: z.literal('pbx'), ...FIELDS.pbx }),
  ])
  .meta({
    examples: [
      { provider: 'twilio', account_sid: `AC${'0'.repeat(32)}`, auth_token: 'your_auth_token' },
      { provider: 'kudosity', allowed_cidrs: ['203.0.113.0/24'] },
    ],
  })

/** The body of PATCH: any field of the account's provider. */
export const accountChanges = z
  .strictObject({ ...FIELDS.twilio, ...FIELDS.telnyx, ...FIELDS.kudosity })
  .partial()
  .meta({ examples: [{ secondary_auth_token: 'your_new_token' }] })
type Changes = z.infer<typeof accountChanges>

/** Throws `ApiError` 422 for a field that accounts of this provider do not have. */
export function checkFields(provider: ProviderName, body: Changes): void {
  const known: object = provider === 'platform' ? {} : FIELDS[provider]
  for (const name of Object.keys(body)) {
    if (!(name in known)) throw invalidField([name], `Not a setting of a ${provider} account`)
  }
}

/** The body in the store's words, the secrets apart. */
export function partsOf(body: Changes): {
  readonly fields: ProviderAccountFields
  readonly secrets: ProviderSecrets
} {
  return {
    fields: {
      accountSid: body.account_sid,
      publicKey: body.public_key,
      allowedCidrs: body.allowed_cidrs,
    },
    secrets: {
      authToken: body.auth_token,
      secondaryAuthToken: body.secondary_auth_token,
      apiKey: body.api_key,
      apiSecret: body.api_secret,
      basic: body.basic,
    },
  }
}
