import { readFileSync } from 'node:fs'
import { createKudosityWebhook } from '@switchhook/testing/kudosity-simulator'
import type { ProviderRequest } from '@switchhook/testing/send-webhook'
import { createTelnyxWebhook } from '@switchhook/testing/telnyx-simulator'
import { createTwilioCallback } from '@switchhook/testing/twilio-simulator'
import type { Product } from './product.ts'
import type { ProviderTenant } from './provider-tenant.ts'

/** A documented example of a vendor, with throw-away numbers. */
export type Seed = {
  readonly name: string
  /** The vendor's page. */
  readonly source: string
  /** What it becomes here. */
  readonly types: readonly string[]
  /** What the vendor is answered. */
  readonly answer: number
  /** What the vendor in whose place we deliver documents for it; its timestamp left out where we make it. */
  readonly burki?: Readonly<Record<string, unknown>>
} & (
  | {
      /** `{token}` stands for the account's. */
      readonly path: string
      readonly contentType: string
      readonly body?: string
      readonly json?: unknown
    }
  | { readonly path: string; readonly query: string; readonly signature: string }
  | { readonly publish: Readonly<Record<string, unknown>> }
)

export const SEED_VENDORS = ['twilio', 'telnyx', 'kudosity', 'pbx', 'burki'] as const
export type SeedVendor = (typeof SEED_VENDORS)[number]

export function readSeeds(vendor: SeedVendor): readonly Seed[] {
  const file = new URL(`../fixtures/seeds/${vendor}.json`, import.meta.url)
  return JSON.parse(readFileSync(file, 'utf8')) as Seed[]
}

/** What the raw format must give back, byte for byte; undefined for what was published. */
export function payloadOf(seed: Seed): string | undefined {
  if ('publish' in seed) return undefined
  return 'query' in seed ? seed.query : (seed.body ?? JSON.stringify(seed.json))
}

/** The seed as its vendor would send it to this tenant, signed where the vendor signs. */
export function toRequest(
  product: Product,
  tenant: ProviderTenant,
  vendor: SeedVendor,
  seed: Seed,
): ProviderRequest {
  if ('publish' in seed) {
    return {
      method: 'POST',
      target: '/api/v1/events',
      headers: { authorization: `Bearer ${tenant.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(seed.publish),
    }
  }
  const { accounts } = tenant
  const account = accounts[vendor === 'pbx' ? 'pbx' : 'kudosity']
  const path = seed.path.endsWith('{token}')
    ? tenant.pathOf(account, seed.path.slice(0, -'{token}'.length))
    : seed.path
  if ('query' in seed) {
    const headers = { 'x-transmitsms-signature': seed.signature }
    return { method: 'GET', target: `${path}?${seed.query}`, headers }
  }
  const body = payloadOf(seed) ?? ''
  switch (vendor) {
    case 'twilio': {
      const { publicBaseUrl } = product
      return createTwilioCallback({
        authToken: tenant.authToken,
        publicBaseUrl,
        path,
        fields: body,
      })
    }
    case 'telnyx':
      return createTelnyxWebhook({ key: tenant.telnyxKey, target: path, body })
    case 'kudosity':
      return createKudosityWebhook({ target: path, body })
    default:
      return { method: 'POST', target: path, headers: { 'content-type': seed.contentType }, body }
  }
}
