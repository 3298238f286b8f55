import type { CircuitChange, OpenCircuit } from '@switchhook/core/circuits'
import { writeCircuitChanges } from '@switchhook/core/store/circuit-changes'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const OPENED_AT_MS = Date.UTC(2026, 10, 21, 1, 0, 0)

let app: ApiTestApp
let tenant: Tenant
let id: string
let readCircuits: () => Promise<ReadonlyMap<string, OpenCircuit>>

beforeAll(async () => {
  app = await startApiTestApp({ readCircuits: () => readCircuits() })
  tenant = await app.createTenant()
})
afterAll(() => app.close())
beforeEach(async () => {
  readCircuits = async () => new Map()
  id = (await tenant.create('/api/v1/destinations', { url: 'https://receiver.example.com/' })).id
})

const open = (facts: Partial<OpenCircuit> = {}): OpenCircuit => ({
  ...{ id, openedAtMs: OPENED_AT_MS, pauseMs: 30_000, probeEndsAtMs: 0 },
  nextProbeAtMs: OPENED_AT_MS + 30_000,
  ...facts,
})
const opened = (facts: Partial<CircuitChange> = {}): CircuitChange => ({
  ...{ destinationId: id, kind: 'opened', atMs: OPENED_AT_MS, openedAtMs: OPENED_AT_MS },
  ...{ pauseMs: 30_000, nextProbeAtMs: OPENED_AT_MS + 30_000 },
  ...facts,
})
const write = (...changes: CircuitChange[]) => writeCircuitChanges(app.deps.database.pool, changes)

const OPEN = {
  state: 'open',
  opened_at: '2026-11-21T01:00:00.000Z',
  next_probe_at: '2026-11-21T01:00:30.000Z',
}
const CLOSED = { state: 'closed', opened_at: null, next_probe_at: null }

describe('the circuit of a destination', () => {
  it('is shown as the workers have it, alone and in the list', async () => {
    expect((await tenant.call('GET', `/api/v1/destinations/${id}`)).body.circuit).toEqual(CLOSED)
    readCircuits = async () => new Map([[id, open()]])
    expect((await tenant.call('GET', `/api/v1/destinations/${id}`)).body.circuit).toEqual(OPEN)
    const { items } = (await tenant.call('GET', '/api/v1/destinations')).body
    expect(items[0]).toMatchObject({ id, circuit: OPEN })
    const paused = await tenant.call('POST', `/api/v1/destinations/${id}/pause`)
    expect(paused.body).toMatchObject({ status: 'paused', circuit: OPEN })
  })

  it('is half open while it is probed', async () => {
    readCircuits = async () => new Map([[id, open({ probeEndsAtMs: OPENED_AT_MS + 42_000 })]])
    const { body } = await tenant.call('GET', `/api/v1/destinations/${id}`)
    expect(body.circuit).toEqual({ ...OPEN, state: 'half_open' })
  })

  it('is told from its history while Redis is away', async () => {
    readCircuits = () => Promise.reject(new Error('Redis is away'))
    await write(opened())
    expect((await tenant.call('GET', `/api/v1/destinations/${id}`)).body.circuit).toEqual(OPEN)
    const closed = { kind: 'closed', pauseMs: null, nextProbeAtMs: null } as const
    await write(opened({ ...closed, atMs: OPENED_AT_MS + 31_000 }))
    expect((await tenant.call('GET', `/api/v1/destinations/${id}`)).body.circuit).toEqual(CLOSED)
  })

  it('has a history, newest first, in pages', async () => {
    await write(
      opened(),
      opened({ kind: 'probe_failed', atMs: OPENED_AT_MS + 30_000, pauseMs: 60_000 }),
      opened({ kind: 'closed', atMs: OPENED_AT_MS + 90_000, pauseMs: null, nextProbeAtMs: null }),
    )
    const path = `/api/v1/destinations/${id}/circuit`
    const first = await tenant.call('GET', `${path}?limit=2`)
    expect(first.body).toMatchObject(CLOSED)
    expect(first.body.items).toMatchObject([
      { kind: 'closed', at: '2026-11-21T01:01:30.000Z', pause_seconds: null, next_probe_at: null },
      { kind: 'probe_failed', pause_seconds: 60 },
    ])
    const rest = await tenant.call('GET', `${path}?limit=2&cursor=${first.body.next_cursor}`)
    expect(rest.body).toMatchObject({ items: [{ kind: 'opened' }], next_cursor: null })
  })

  it('is nobody else’s to see', async () => {
    const other = await app.createTenant('Another')
    expect((await other.call('GET', `/api/v1/destinations/${id}/circuit`)).status).toBe(404)
    expect((await tenant.call('GET', '/api/v1/destinations/dst_nope/circuit')).status).toBe(404)
  })
})
