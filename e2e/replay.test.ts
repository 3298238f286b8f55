import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import { createEvidence, newMessageSid } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000
const SINCE = '2020-01-01T00:00:00Z'

type Replay = {
  readonly id: string
  readonly state: 'running' | 'finished' | 'cancelled' | 'failed'
  readonly reason: string | null
  readonly total: number
  readonly done: number
  readonly skipped: number
}
type Replayed = ApiDelivery & { readonly replay_of: string | null; readonly created_at: string }

let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct({ workers: 2 })
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
})

/** A destination and messages that it answered so, in this order. Of 500 no more than a circuit bears: ten. */
async function haveTraffic(path: string, howMany: number, status: 200 | 500, maxAttempts = 1) {
  const line = await tenant.addLine({ path, maxAttempts })
  product.receiver.on(path, { kind: 'answer', status })
  const evidence = createEvidence(product, tenant)
  const eventIds: string[] = []
  for (let index = 0; index < howMany; index += 1) {
    const messageSid = newMessageSid()
    eventIds.push((await evidence.send(line, { messageSid })).eventId)
  }
  await evidence.waitUntilSettled(TIMEOUT_MS)
  return { line, eventIds }
}

const ask = <T>({ destinationId }: Line, body: object) =>
  tenant.api.call<T>('POST', `/api/v1/destinations/${destinationId}/replay`, {
    ...{ since: SINCE, ...body },
  })
const show = (id: string) => tenant.api.call<Replay>('GET', `/api/v1/replays/${id}`)
const deliveriesOf = ({ destinationId }: Line) =>
  tenant.api.list<Replayed>(`/api/v1/deliveries?destination=${destinationId}`)

function waitForReplay(id: string, isReached: (replay: Replay) => boolean): Promise<unknown> {
  return waitFor(async () => isReached(await show(id)), {
    ...{ timeoutMs: TIMEOUT_MS, everyMs: 50, what: 'the replay to be that far' },
  })
}

/** The event ids that the destination answered 200, in the order in which they came. */
function takenBy({ path }: Line, sinceMs: number): string[] {
  return product.receiver.received
    .filter((one) => one.path === path && one.receivedAtMs >= sinceMs)
    .map(({ headers }) => String(headers['webhook-id']))
}

async function waitForTaken(line: Line, sinceMs: number, howMany: number): Promise<string[]> {
  await waitFor(() => takenBy(line, sinceMs).length >= howMany, {
    ...{ timeoutMs: TIMEOUT_MS, what: `${howMany} requests to ${line.path}` },
  })
  return takenBy(line, sinceMs)
}

test('what was given up in an outage is counted, and then sent again: each event once, with its webhook-id', async () => {
  const { line, eventIds } = await haveTraffic('/outage', 9, 500)
  const repairedAtMs = Date.now()
  product.receiver.on(line.path, { kind: 'answer', status: 200 })

  const plan = await ask<{ total: number }>(line, { dry_run: true })
  expect(plan.total).toBe(9)
  expect(takenBy(line, repairedAtMs)).toEqual([])

  const { id } = await ask<Replay>(line, {})
  await waitForReplay(id, ({ state }) => state === 'finished')
  expect(await show(id)).toMatchObject({ total: 9, done: 9, skipped: 0, reason: null })
  const taken = await waitForTaken(line, repairedAtMs, 9)
  expect([...taken].sort()).toEqual([...eventIds].sort())

  await waitFor(async () => (await deliveriesOf(line)).every((one) => one.state !== 'pending'), {
    ...{ timeoutMs: TIMEOUT_MS, what: 'the deliveries to be settled' },
  })
  const deliveries = await deliveriesOf(line)
  const originals = new Map(
    deliveries.filter((one) => one.replay_of === null).map((one) => [one.id, one]),
  )
  const replays = deliveries.filter((one) => one.replay_of !== null)
  expect(replays).toHaveLength(9)
  for (const { state, replay_of, event_id } of replays) {
    expect(state).toBe('delivered')
    expect(originals.get(replay_of ?? '')).toMatchObject({ event_id, state: 'given_up' })
  }
  // The same question again: nothing is left to be sent.
  expect((await ask<{ total: number }>(line, { dry_run: true })).total).toBe(0)
})

test('a replay goes on where it was when the worker that ran it is killed: nothing twice, nothing left out', async () => {
  // What a worker has in hand when it is killed costs an attempt (decision 2): with a single one it would go to its mail.
  const { line, eventIds } = await haveTraffic('/killed', 40, 200, 3)
  const askedAtMs = Date.now()
  const { id } = await ask<Replay>(line, { rate_per_second: 5, states: ['delivered'] })
  await waitForReplay(id, ({ done }) => done >= 20)
  // All of them, so that whoever leads is among them; others come.
  const killed = [...product.workers]
  for (const worker of killed) worker.kill('SIGKILL')
  await Promise.all(killed.map((worker) => worker.exited))
  const { done } = await show(id)
  expect(done).toBeLessThan(40)
  const worker = await product.startWorker()
  await worker.waitUntilReady()

  await waitForReplay(id, ({ state }) => state === 'finished')
  expect(await show(id)).toMatchObject({ total: 40, done: 40, skipped: 0 })
  const taken = await waitForTaken(line, askedAtMs, 40)
  expect(new Set(taken)).toEqual(new Set(eventIds))
  const replays = (await deliveriesOf(line)).filter((one) => one.replay_of !== null)
  expect(new Set(replays.map((one) => one.replay_of)).size).toBe(40)
  expect(replays).toHaveLength(40)
  // Those that a worker had in hand when it was killed may have been sent once more.
  expect(taken.length).toBeLessThan(40 + 15)
})

test('a replay keeps its rate, oldest first', async () => {
  const { line, eventIds } = await haveTraffic('/slowly', 25, 200)
  const askedAtMs = Date.now()
  await ask<Replay>(line, { rate_per_second: 5, states: ['delivered'] })
  const taken = await waitForTaken(line, askedAtMs, 25)
  // A second's worth at once, and the others at the rate; whoever stands still meanwhile only comes later.
  const last = product.receiver.received.findLast((one) => one.path === line.path)
  expect((last?.receivedAtMs ?? 0) - askedAtMs).toBeGreaterThan(3_800)
  // Those of one step go out side by side, and so do two steps for a worker that stood still.
  for (const [index, eventId] of taken.entries()) {
    expect(Math.abs(eventIds.indexOf(eventId) - index)).toBeLessThanOrEqual(10)
  }
})

test('a replay waits while its destination is paused, and ends when that is deleted', async () => {
  const { line } = await haveTraffic('/paused', 8, 500)
  product.receiver.on(line.path, { kind: 'answer', status: 200 })
  const path = `/api/v1/destinations/${line.destinationId}`
  await tenant.api.call('POST', `${path}/pause`)
  const { id } = await ask<Replay>(line, { rate_per_second: 2 })
  // The control: another one, asked for later, is finished meanwhile.
  const other = await haveTraffic('/not-paused', 1, 500)
  const control = await ask<Replay>(other.line, {})
  await waitForReplay(control.id, ({ state }) => state === 'finished')
  expect(await show(id)).toMatchObject({ state: 'running', done: 0 })
  await tenant.api.call('POST', `${path}/resume`)
  await waitForReplay(id, ({ done }) => done >= 1)
  await tenant.api.send('DELETE', path)
  await waitForReplay(id, ({ state }) => state === 'cancelled')
  const ended = await show(id)
  expect(ended.reason).toBe('The destination was deleted.')
  expect(ended.done).toBeLessThan(8)
})
