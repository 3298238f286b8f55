import { randomBytes } from 'node:crypto'
import {
  type ProviderAnswer,
  type ProviderRequest,
  sendWebhook,
} from '@switchhook/testing/send-webhook'
import { createTelnyxKey, type TelnyxKey } from '@switchhook/testing/telnyx-simulator'
import { waitFor } from '@switchhook/testing/wait-for'
import { type Api, createApi } from './api.ts'
import type { Product } from './product.ts'
import { sendAgain } from './send-again.ts'

export type Account = { readonly id: string; readonly webhook_urls: readonly string[] }
export type MadeDestination = {
  readonly id: string
  readonly secret: string
  /** At the receiver. */
  readonly path: string
}

/** An organization with an account of each provider. */
export type ProviderTenant = {
  readonly api: Api
  readonly apiKey: string
  readonly organizationId: string
  readonly accountSid: string
  readonly authToken: string
  readonly telnyxKey: TelnyxKey
  readonly accounts: Readonly<Record<'twilio' | 'telnyx' | 'kudosity' | 'pbx', Account>>
  /** Path and token of an account's URL that begins so: "/webhooks/pbx/". */
  pathOf(account: Account, prefix: string): string
  addNumber(phoneNumber: string, provider: string, more?: object): Promise<void>
  /** At the receiver's path; all events of the organization unless told. */
  addDestination(path: string, settings?: object): Promise<MadeDestination>
  /** To the oldest ingress; again after a 503. */
  send(webhook: ProviderRequest): Promise<ProviderAnswer>
  /** In turn; throws unless each is answered 2xx. Waits for what comes of them; returns the statuses. */
  sendAll(webhooks: readonly ProviderRequest[]): Promise<readonly number[]>
  /** Waits until every delivery of the organization is in a final state. */
  settle(): Promise<void>
}

export type ProviderTenantOptions = {
  readonly accountSid?: string
  readonly authToken?: string
  readonly telnyxKey?: TelnyxKey
  /** Of the Kudosity and the PBX account. */
  readonly kudosity?: object
  readonly pbx?: object
}

const SETTLE_TIMEOUT_MS = 60_000
const QUICK_RETRY = { max_attempts: 3, delays_seconds: [0.05, 0.05], jitter: false }

/** Path of the URL that begins so. Throws with the URLs when there is none. */
export function pathOfUrl(urls: readonly string[], prefix: string): string {
  const paths = urls.map((url) => new URL(url).pathname)
  const found = paths.find((path) => path.startsWith(prefix))
  if (found === undefined) throw new Error(`no URL begins with ${prefix}: ${paths.join(', ')}`)
  return found
}

/** Made through the management API, as a customer would. */
export async function createProviderTenant(
  product: Product,
  options: ProviderTenantOptions = {},
): Promise<ProviderTenant> {
  const ingressUrl = () => product.ingress().url
  const admin = createApi(ingressUrl, product.adminApiKey)
  const { id: organizationId, api_key: apiKey } = await admin.call<{ id: string; api_key: string }>(
    'POST',
    '/api/v1/organizations',
    { name: 'Providers' },
  )
  const api = createApi(ingressUrl, apiKey)
  const {
    accountSid = `AC${randomBytes(16).toString('hex')}`,
    authToken = randomBytes(16).toString('hex'),
    telnyxKey = createTelnyxKey(),
  } = options
  const addAccount = (body: object): Promise<Account> =>
    api.call('POST', '/api/v1/provider-accounts', body)
  const accounts = {
    twilio: await addAccount({
      ...{ provider: 'twilio', account_sid: accountSid, auth_token: authToken },
    }),
    telnyx: await addAccount({ provider: 'telnyx', public_key: telnyxKey.publicKey }),
    kudosity: await addAccount({ provider: 'kudosity', ...options.kudosity }),
    pbx: await addAccount({ provider: 'pbx', ...options.pbx }),
  }
  async function countPending(): Promise<number> {
    const { rows } = await product.database.pool.query<{ count: number }>(
      `select count(*)::int as count from deliveries where organization_id = $1 and state = 'pending'`,
      [organizationId],
    )
    return rows[0]?.count ?? 0
  }
  const tenant: ProviderTenant = {
    ...{ api, apiKey, organizationId, accountSid, authToken, telnyxKey, accounts },
    pathOf: ({ webhook_urls }, prefix) => pathOfUrl(webhook_urls, prefix),
    async addNumber(phoneNumber, provider, more = {}) {
      const number = { phone_number: phoneNumber, provider, ...more }
      await api.call('POST', '/api/v1/phone-numbers', number)
    },
    async addDestination(path, settings = {}) {
      const { id, secret } = await api.call<MadeDestination>('POST', '/api/v1/destinations', {
        ...{ name: path, url: product.receiver.url + path, event_types: ['*'] },
        ...{ format: 'standard', retry: QUICK_RETRY, ...settings },
      })
      return { id, secret, path }
    },
    send: (webhook) => sendAgain(() => sendWebhook(ingressUrl(), webhook)),
    async sendAll(webhooks) {
      const statuses: number[] = []
      for (const webhook of webhooks) {
        const { status, text } = await tenant.send(webhook)
        if (status > 299) throw new Error(`${webhook.target} answered ${status}: ${text}`)
        statuses.push(status)
      }
      await tenant.settle()
      return statuses
    },
    async settle() {
      // What Redis took while Postgres was slow has no row yet.
      const isSettled = async () =>
        (await product.spool.length()) === 0 && (await countPending()) === 0
      await waitFor(isSettled, {
        ...{ timeoutMs: SETTLE_TIMEOUT_MS, everyMs: 50, what: 'all deliveries to be settled' },
      })
    },
  }
  return tenant
}
