import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { createEgressRules } from '@switchhook/core/egress-rules'
import type { AcceptedEvent } from '@switchhook/core/event'
import { silentLogger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { createSnapshot } from '@switchhook/core/routing/snapshot'
import { parseKeyRing } from '@switchhook/core/secrets'
import { findConfigChanges } from '@switchhook/core/store/config-changes'
import { openDatabase } from '@switchhook/core/store/database'
import { migrate } from '@switchhook/core/store/migrate'
import { createIsolatedDatabase } from '@switchhook/testing/isolated'
import { providedStores } from '@switchhook/testing/provided-stores'
import type { ApiDeps } from '../src/api/api-deps.ts'
import { createApiRouter } from '../src/api/api-router.ts'
import { createApp } from '../src/app.ts'
import { closeServer, listen } from '../src/http-server.ts'
import { createProviderControl } from '../src/provider-control/provider-control.ts'
import { createQuarantineActions } from '../src/release.ts'

export const ADMIN_KEY = 'the-admin-key-of-this-test'

export type Answer = {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The JSON body, undefined when there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever came
  readonly body: any
}

export type SendOptions = {
  readonly key?: string
  /** Sent as JSON. */
  readonly body?: unknown
  /** Sent as it is. */
  readonly rawBody?: string | Uint8Array<ArrayBuffer>
  readonly headers?: Readonly<Record<string, string>>
}

export type Tenant = {
  readonly id: string
  readonly key: string
  /** A request with the tenant's first key. */
  call(method: string, path: string, body?: unknown): Promise<Answer>
  /** Posts and answers the object that was made. Throws for anything but a 201. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever came
  create(path: string, body: unknown): Promise<any>
}

export type ApiTestApp = {
  readonly baseUrl: string
  readonly databaseUrl: string
  readonly deps: ApiDeps
  /** What was handed to `accept`. */
  readonly accepted: AcceptedEvent[]
  /** Deliveries that were handed to the workers, and those that were taken away from them. */
  readonly enqueued: DeliveryJob[]
  readonly dropped: string[]
  send(method: string, path: string, options?: SendOptions): Promise<Answer>
  /** A new organization and its first key, made through the API. */
  createTenant(name?: string): Promise<Tenant>
  /** A further key of the tenant's. */
  createKey(tenant: Tenant, scopes: readonly string[]): Promise<string>
  close(): Promise<void>
}

/** Kudosity's drop-in has a header of its own. */
const keyHeader = (path: string, key: string): Record<string, string> =>
  path.startsWith('/v2/') ? { 'x-api-key': key } : { authorization: `Bearer ${key}` }

/** The management API on loopback over a database of its own. `accept` takes every event and owes it to nobody. */
export async function startApiTestApp(overrides: Partial<ApiDeps> = {}): Promise<ApiTestApp> {
  const isolated = await createIsolatedDatabase(providedStores().databaseUrl)
  const database = openDatabase(
    { url: isolated.url, applicationName: 'api-test', maxConnections: 5, queryTimeoutMs: 5_000 },
    silentLogger,
  )
  await migrate(database)
  const ring = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)
  const snapshot = createSnapshot()
  const metrics = createMetrics(createRegistry())
  const accepted: AcceptedEvent[] = []
  const enqueued: DeliveryJob[] = []
  const dropped: string[] = []

  let refreshed: Promise<void> = Promise.resolve()
  async function refresh(): Promise<void> {
    snapshot.apply(await findConfigChanges(database.db, snapshot.version(), ring, silentLogger))
  }

  const deps: ApiDeps = {
    ...{ database, snapshot, ring, adminApiKey: ADMIN_KEY, log: silentLogger },
    egress: createEgressRules({ allowedCidrs: [], allowHttp: false }),
    publicBaseUrl: 'https://hooks.example.com',
    rateLimitPerSecond: 100_000,
    isReady: () => true,
    noteKeyUse: () => undefined,
    configChanged() {
      refreshed = refreshed.then(refresh)
      return refreshed
    },
    async accept(event) {
      accepted.push(event)
      return { kind: 'accepted', deliveryIds: [] }
    },
    quarantine: {
      reverify: (organizationId, id) => actions().reverify(organizationId, id),
      release: (organizationId, id) => actions().release(organizationId, id),
    },
    providerControl: createProviderControl({
      // Nobody listens there; tests of the providers' APIs bring stand-ins of their own.
      ...{ twilioApiBaseUrl: 'http://127.0.0.1:9', telnyxApiBaseUrl: 'http://127.0.0.1:9/v2' },
      ...{ publicBaseUrl: 'https://hooks.example.com', metrics, log: silentLogger },
    }),
    async enqueueDelivery(job) {
      enqueued.push(job)
    },
    readCircuits: async () => new Map(),
    async dropDelivery(deliveryId) {
      dropped.push(deliveryId)
    },
    ...overrides,
  }
  const actions = () =>
    createQuarantineActions({
      ...{ snapshot, database, publicBaseUrl: deps.publicBaseUrl, accept: deps.accept },
      calls: { findOwner: async () => undefined, findTenants: async () => [] },
    })
  const app = createApp({
    routers: [createApiRouter(deps)],
    isDraining: () => false,
    trustedProxies: [],
    log: deps.log,
  })
  const server = await listen(app, '127.0.0.1', 0)
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function send(method: string, path: string, options: SendOptions = {}): Promise<Answer> {
    const { key, body, rawBody, headers } = options
    const sent = body === undefined ? rawBody : JSON.stringify(body)
    const response = await fetch(baseUrl + path, {
      method,
      headers: {
        ...(key === undefined ? {} : keyHeader(path, key)),
        ...(sent === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(sent === undefined ? {} : { body: sent }),
      signal: AbortSignal.timeout(25_000),
    })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.startsWith('application/json')
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson && text !== '' ? JSON.parse(text) : undefined,
    }
  }

  return {
    ...{ baseUrl, databaseUrl: isolated.url, deps, send },
    ...{ accepted, enqueued, dropped },
    async createTenant(name = 'A tenant') {
      const answer = await send('POST', '/api/v1/organizations', { key: ADMIN_KEY, body: { name } })
      if (answer.status !== 201) throw new Error(`no tenant: ${answer.status} ${answer.text}`)
      const { id, api_key: key } = answer.body
      const call = (method: string, path: string, body?: unknown) =>
        send(method, path, { key, ...(body === undefined ? {} : { body }) })
      async function create(path: string, body: unknown) {
        const made = await call('POST', path, body)
        if (made.status !== 201) throw new Error(`${path}: ${made.status} ${made.text}`)
        return made.body
      }
      return { id, key, call, create }
    },
    async createKey(tenant, scopes) {
      return (await tenant.create('/api/v1/api-keys', { scopes })).api_key
    },
    async close() {
      await closeServer(server, 1_000)
      await database.close()
      await isolated.drop()
    },
  }
}
