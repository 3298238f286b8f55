import type { AcceptedEvent } from '@switchhook/core/event'
import { deliveryId } from '@switchhook/core/ids'
import type { EventContent } from '@switchhook/core/providers/provider'
import { route } from '@switchhook/core/routing/route'
import { writeJournal } from '@switchhook/core/store/journal'
import type { AcceptResult } from '../src/api/api-deps.ts'
import { type Answer, type ApiTestApp, startApiTestApp } from './api-test-app.ts'

export type Tenant = {
  readonly organizationId: string
  /** May write, and so read. */
  readonly apiKey: string
  readonly readOnlyKey: string
  readonly adminKey: string
  readonly assistantId: number
  /** Belongs to the assistant. */
  readonly phoneNumber: string
  /** Wants everything of the organization. */
  readonly destinationId: string
  addAssistant(): Promise<number>
  /** A further destination that wants everything, of the assistant where one is given. */
  addDestination(assistantId?: number): Promise<string>
}

type Accepting = {
  isAvailable: boolean
  /** Those that were taken. */
  events: AcceptedEvent[]
  /** The last one that came, taken or not. */
  offered: AcceptedEvent | undefined
}

async function createTenant(app: ApiTestApp, phoneNumber: string): Promise<Tenant> {
  const owner = await app.createTenant()
  const addAssistant = async (): Promise<number> =>
    (await owner.create('/api/v1/assistants', { name: 'Ava' })).id
  const addDestination = async (assistantId?: number): Promise<string> => {
    const scope = assistantId === undefined ? {} : { assistant_id: assistantId }
    const wants = { url: 'https://example.com/hook', format: 'burki', event_types: ['*'] }
    return (await owner.create('/api/v1/destinations', { name: 'd', ...wants, ...scope })).id
  }
  const assistantId = await addAssistant()
  const number = { phone_number: phoneNumber, provider: 'twilio', assistant_id: assistantId }
  await owner.create('/api/v1/phone-numbers', number)
  return {
    ...{ organizationId: owner.id, assistantId, phoneNumber, addAssistant, addDestination },
    apiKey: await app.createKey(owner, ['write']),
    readOnlyKey: await app.createKey(owner, ['read']),
    adminKey: owner.key,
    destinationId: await addDestination(),
  }
}

/** The management API of api-test-app.ts, but an accepted event is routed and journaled; nothing delivers it. */
export async function startReadSideApp() {
  const accepting: Accepting = { isAvailable: true, events: [], offered: undefined }
  const app = await startApiTestApp({ accept })
  const { database, snapshot } = app.deps

  async function accept(event: AcceptedEvent, content: EventContent): Promise<AcceptResult> {
    accepting.offered = event
    if (!accepting.isAvailable) return { kind: 'unavailable' }
    accepting.events.push(event)
    const deliveries = route(snapshot, event, content).map(({ id }) => ({
      deliveryId: deliveryId(event.id, id),
      destinationId: id,
    }))
    const [result] = await writeJournal(database.pool, [{ event, deliveries }])
    const deliveryIds = deliveries.map((owed) => owed.deliveryId)
    return { kind: result === 'new' ? 'accepted' : 'duplicate', deliveryIds }
  }

  return {
    ...{ database, accepting, close: app.close, deps: app.deps },
    ...{ enqueued: app.enqueued, dropped: app.dropped },
    addTenant: (phoneNumber: string) => createTenant(app, phoneNumber),
    get: (tenant: Tenant, path: string) => app.send('GET', path, { key: tenant.apiKey }),
    /** A string is sent as it is, anything else as JSON. */
    post(tenant: Tenant, path: string, body: unknown): Promise<Answer> {
      const sent = typeof body === 'string' ? { rawBody: body } : { body }
      return app.send('POST', path, { key: tenant.apiKey, ...sent })
    },
    send: app.send,
  }
}

export type ReadSideApp = Awaited<ReturnType<typeof startReadSideApp>>
