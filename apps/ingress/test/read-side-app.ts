import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { type ApiScope, createApiKey } from '@switchhook/core/api-key'
import { createEgressRules } from '@switchhook/core/egress-rules'
import type { AcceptedEvent } from '@switchhook/core/event'
import { deliveryId, randomId } from '@switchhook/core/ids'
import { silentLogger } from '@switchhook/core/log'
import { route } from '@switchhook/core/routing/route'
import { createSnapshot } from '@switchhook/core/routing/snapshot'
import { encryptSecret, parseKeyRing } from '@switchhook/core/secrets'
import { findConfigChanges, sealOf } from '@switchhook/core/store/config-changes'
import { openDatabase } from '@switchhook/core/store/database'
import { writeJournal } from '@switchhook/core/store/journal'
import { migrate } from '@switchhook/core/store/migrate'
import { createIsolatedDatabase } from '@switchhook/testing/isolated'
import { providedStores } from '@switchhook/testing/provided-stores'
import type { AcceptResult, ApiDeps } from '../src/api/api-deps.ts'
import { createApiRouter } from '../src/api/api-router.ts'
import { createApp } from '../src/app.ts'
import { closeServer, listen } from '../src/http-server.ts'

export type Tenant = {
  readonly organizationId: string
  readonly apiKey: string
  readonly readOnlyKey: string
  readonly assistantId: number
  /** Belongs to the assistant. */
  readonly phoneNumber: string
  /** Wants everything of the organization. */
  readonly destinationId: string
}

// biome-ignore lint/suspicious/noExplicitAny: a JSON answer, looked into by assertions
export type Answer = { status: number; headers: Headers; body: any }

type Accepting = { isAvailable: boolean; events: AcceptedEvent[] }

/** The management API over HTTP with a Postgres of its own; an accepted event is journaled, nothing delivers it. */
export async function startReadSideApp() {
  const isolated = await createIsolatedDatabase(providedStores().databaseUrl)
  const options = { applicationName: 'test', maxConnections: 4, queryTimeoutMs: 10_000 }
  const database = openDatabase({ url: isolated.url, ...options }, silentLogger)
  await migrate(database)
  const ring = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)
  const snapshot = createSnapshot()
  const accepting: Accepting = { isAvailable: true, events: [] }

  async function refresh(): Promise<void> {
    snapshot.apply(await findConfigChanges(database.db, snapshot.version(), ring, silentLogger))
  }

  async function accept(event: AcceptedEvent): Promise<AcceptResult> {
    if (!accepting.isAvailable) return { kind: 'unavailable' }
    accepting.events.push(event)
    const deliveries = route(snapshot, event, event.type).map(({ id }) => ({
      deliveryId: deliveryId(event.id, id),
      destinationId: id,
    }))
    const [isNew] = await writeJournal(database.pool, [{ event, deliveries }])
    const deliveryIds = deliveries.map((owed) => owed.deliveryId)
    return { kind: isNew === true ? 'accepted' : 'duplicate', deliveryIds }
  }

  async function addApiKey(organizationId: string, scopes: ApiScope[]): Promise<string> {
    const { id, secretSha256, text } = createApiKey()
    const row = { id, organization_id: organizationId, name: 'test', secret_sha256: secretSha256 }
    await database.db
      .insertInto('api_keys')
      .values({ ...row, scopes })
      .execute()
    return text
  }

  async function addDestination(
    organizationId: string,
    scope: { assistantId?: number; phoneNumber?: string } = {},
  ): Promise<string> {
    const id = randomId('dst_')
    await database.db
      .insertInto('destinations')
      .values({
        ...{ id, organization_id: organizationId, name: 'd', url: 'https://example.com/hook' },
        ...{ format: 'burki', event_types: ['*'], success_rule: '2xx', timeout_ms: 10_000 },
        ...{ max_attempts: 10, delays_seconds: [5], jitter: true, max_concurrency: 10 },
        ...{ status: 'active', headers: '{}' },
        assistant_id: scope.assistantId ?? null,
        phone_number: scope.phoneNumber ?? null,
        secret: encryptSecret(ring, 'whsec_AAAA', sealOf(id, 'secret')),
      } as const)
      .execute()
    await refresh()
    return id
  }

  async function addTenant(phoneNumber: string): Promise<Tenant> {
    const organizationId = randomId('org_')
    const { db } = database
    await db.insertInto('organizations').values({ id: organizationId, name: 'Acme' }).execute()
    const assistant = await db
      .insertInto('assistants')
      .values({ organization_id: organizationId, name: 'Ava' })
      .returning('id')
      .executeTakeFirstOrThrow()
    await db
      .insertInto('phone_numbers')
      .values({
        organization_id: organizationId,
        phone_number: phoneNumber,
        provider: 'twilio',
        assistant_id: assistant.id,
      })
      .execute()
    const apiKey = await addApiKey(organizationId, ['write'])
    const readOnlyKey = await addApiKey(organizationId, ['read'])
    const destinationId = await addDestination(organizationId)
    const assistantId = assistant.id
    return { organizationId, apiKey, readOnlyKey, assistantId, phoneNumber, destinationId }
  }

  const deps: ApiDeps = {
    ...{ database, snapshot, ring, accept, log: silentLogger },
    egress: createEgressRules({ allowedCidrs: [], allowHttp: false }),
    publicBaseUrl: 'http://127.0.0.1',
    adminApiKey: 'admin',
    rateLimitPerSecond: 100_000,
    isReady: () => true,
    configChanged: refresh,
  }
  const app = createApp({
    routers: [createApiRouter(deps)],
    isDraining: () => false,
    log: silentLogger,
  })
  const server = await listen(app, '127.0.0.1', 0)
  const { port } = server.address() as AddressInfo

  /** `body` as JSON; a string is sent as it is. */
  async function call(key: string, method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    })
    const text = await response.text()
    const { status, headers } = response
    return { status, headers, body: text === '' ? undefined : JSON.parse(text) }
  }

  return {
    ...{ database, accepting, addTenant, addDestination },
    get: (tenant: Tenant, path: string) => call(tenant.apiKey, 'GET', path),
    post: (tenant: Tenant, path: string, body: unknown) => call(tenant.apiKey, 'POST', path, body),
    call,
    async close() {
      await closeServer(server, 1_000)
      await database.close()
      await isolated.drop()
    },
  }
}

export type ReadSideApp = Awaited<ReturnType<typeof startReadSideApp>>
