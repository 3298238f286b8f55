import type { ReceivedRequest } from '@switchhook/testing/receiver'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import { createEvidence } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000
const OPERATIONS = '/operations'

type Told = {
  readonly type: string
  readonly timestamp: string
  readonly data: Readonly<Record<string, unknown>>
}

let product: Product
let tenant: Tenant
let operationsId: string

beforeAll(async () => {
  product = await startProduct({ workers: 2, env: { CIRCUIT_FIRST_PAUSE_MS: '1000' } })
  tenant = await createTenant(product)
  const made = await tenant.api.call<{ id: string }>('POST', '/api/v1/destinations', {
    ...{ name: 'Operations', url: product.receiver.url + OPERATIONS, format: 'standard' },
    event_types: ['operational'],
    retry: { max_attempts: 3, delays_seconds: [0.05, 0.05], jitter: false },
  })
  operationsId = made.id
  await tenant.api.call('PATCH', '/api/v1/organization', {
    operations_destination_id: operationsId,
  })
})
afterAll(async () => {
  await product?.stop()
})

const requestsTo = (path: string): ReceivedRequest[] =>
  product.receiver.received.filter((one) => one.path === path)

/** What the operations destination was told of a destination, each event once. */
function toldOf(destinationId: string): Told[] {
  const byId = new Map(
    requestsTo(OPERATIONS).map(({ headers, body }) => [
      String(headers['webhook-id']),
      JSON.parse(body.toString('utf8')) as Told,
    ]),
  )
  return [...byId.values()].filter(({ data }) => data.destination_id === destinationId)
}

function waitForTold(destinationId: string, type: string): Promise<Told> {
  return waitFor(() => toldOf(destinationId).find((one) => one.type === type), {
    timeoutMs: TIMEOUT_MS,
    what: `${type} of ${destinationId}`,
  })
}

test('a delivery that is given up is told to the destination that the organization named, signed like any other', async () => {
  const line = await tenant.addLine({ path: '/given-up', maxAttempts: 1 })
  const everything = await tenant.addDestination(line.phoneNumber, { path: '/everything' })
  product.receiver.on(line.path, { kind: 'answer', status: 500 })
  const { eventId } = await createEvidence(product, tenant).send(line)
  const told = await waitForTold(line.destinationId, 'delivery.given_up')
  expect(told.data).toMatchObject({
    ...{ event_id: eventId, event_type: 'sms_received', attempts: 1 },
    ...{ destination_name: '/given-up', reason: 'The destination answered 500.' },
  })
  expect(JSON.stringify(told)).not.toContain(line.phoneNumber)
  const [seen] = requestsTo(OPERATIONS)
  expect(seen?.headers['webhook-signature']).toMatch(/^v1,/)
  // A destination for everything gets its messages, and nothing of this.
  await waitFor(() => requestsTo(everything.path).length > 0, { timeoutMs: TIMEOUT_MS, what: 'it' })
  expect(requestsTo(everything.path)).toHaveLength(1)
})

test('a circuit is told when it opens and when it closes, once each, whoever of the workers saw it', async () => {
  const line = await tenant.addLine({ path: '/circuit', maxAttempts: 50 })
  product.receiver.on(line.path, { kind: 'answer', status: 500 })
  const evidence = createEvidence(product, tenant)
  await Promise.all(Array.from({ length: 20 }, () => evidence.send(line)))
  const opened = await waitForTold(line.destinationId, 'circuit.opened')
  product.receiver.on(line.path, { kind: 'answer', status: 200 })
  const closed = await waitForTold(line.destinationId, 'circuit.closed')
  expect(closed.data.opened_at).toBe(opened.data.opened_at)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(toldOf(line.destinationId).map(({ type }) => type)).toEqual([
    'circuit.opened',
    'circuit.closed',
  ])
})

test('a destination that answers 410 is disabled, and that is told', async () => {
  const line = await tenant.addLine({ path: '/gone' })
  product.receiver.on(line.path, { kind: 'answer', status: 410 })
  await createEvidence(product, tenant).send(line)
  const told = await waitForTold(line.destinationId, 'destination.disabled')
  expect(told.data.reason).toEqual(expect.any(String))
})

test('the operations destination’s own failures are told to nobody: one event makes no other', async () => {
  const line = await tenant.addLine({ path: '/echo', maxAttempts: 1 })
  product.receiver.on(line.path, { kind: 'answer', status: 500 })
  product.receiver.on(OPERATIONS, { kind: 'answer', status: 500 })
  const evidence = createEvidence(product, tenant)
  for (let sent = 0; sent < 5; sent += 1) await evidence.send(line)
  const query = `destination=${operationsId}`
  const failed = async () =>
    tenant.api.list<ApiDelivery>(`/api/v1/deliveries?${query}&state=given_up`)
  await waitFor(async () => (await failed()).length >= 5, {
    timeoutMs: TIMEOUT_MS,
    everyMs: 200,
    what: 'the operational events to be given up',
  })
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(toldOf(operationsId)).toEqual([])
  expect(await failed()).toHaveLength(5)
})
