import { type Receiver, startReceiver } from '@switchhook/testing/receiver'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import { createEvidence } from './support/evidence.ts'
import { createFanOut, isSettled } from './support/fan-out.ts'
import { type NameAnswer, type NameServer, startNameServer } from './support/name-server.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000
const ATTEMPT_MS = 4_000
/** The one place that deliveries may reach. What listens on the same port of 127.0.0.1 is the canary. */
const GOOD = '127.0.0.2'
const FORBIDDEN = '127.0.0.1'
const BLOCKED = 'The address is not one that deliveries may reach.'

let names: NameServer
let product: Product
let tenant: Tenant
let reachable: Receiver

beforeAll(async () => {
  names = await startNameServer()
  const env = { DESTINATION_ALLOWED_CIDRS: `${GOOD}/32`, ...names.env }
  product = await startProduct({ env })
  reachable = await startReceiver({ host: GOOD, port: product.receiver.port })
  // Every attempt has a connection, and a look-up, of its own.
  reachable.on('/', { kind: 'answer', status: 200, headers: { connection: 'close' } })
  tenant = await createTenant(product)
})

beforeEach(() => product.receiver.clear())

afterAll(async () => {
  await product?.stop()
  await reachable.stop()
  await names.stop()
})

const urlOf = (name: string, path: string) => `http://${name}:${product.receiver.port}${path}`

test('a name that leads elsewhere the second time is asked again, and that address judged: nobody gets there (D9)', async () => {
  // As the attack goes: good when it is looked at, then what must not be reached.
  names.answer('rebind.example', [[GOOD], [FORBIDDEN]])
  const url = urlOf('rebind.example', '/rebind')
  const line = await tenant.addLine({ path: '/rebind', url, maxAttempts: 1 })
  const evidence = createEvidence(product, tenant)
  const outcomes = async () => {
    const path = `/api/v1/deliveries?destination=${line.destinationId}`
    const deliveries = await tenant.api.list<ApiDelivery>(path)
    return deliveries.flatMap(({ attempts }) => attempts.map(({ outcome }) => outcome))
  }
  await evidence.send(line)
  await reachable.waitFor(({ path }) => path === '/rebind', { timeoutMs: TIMEOUT_MS })
  expect(names.asked('rebind.example')).toBe(1)

  // What was looked up is remembered for five seconds, and only the address that was judged is used.
  await waitFor(
    async () => {
      await evidence.send(line)
      await evidence.waitUntilSettled(TIMEOUT_MS)
      return (await outcomes()).includes('blocked')
    },
    { timeoutMs: TIMEOUT_MS, everyMs: 500, what: 'the second address to be blocked' },
  )
  expect(names.asked('rebind.example')).toBe(2)
  expect(new Set(await outcomes())).toEqual(new Set(['delivered', 'blocked']))
  expect(product.receiver.count).toBe(0)
  // Positive control: the second address is there, and answers.
  expect((await fetch(urlOf(FORBIDDEN, '/control'))).status).toBe(200)
  expect(product.receiver.count).toBe(1)
}, 180_000)

type Case = {
  readonly name: string
  readonly answer: NameAnswer
  readonly alias?: string
  readonly outcome: string
  readonly error: string | RegExp
}

const unreachable = (error: string) => ({ outcome: 'unreachable', error })
const blocked = { outcome: 'blocked', error: BLOCKED }

const CASES: readonly Case[] = [
  { name: 'missing', answer: 'nxdomain', ...unreachable('The host name does not resolve.') },
  { name: 'empty', answer: [], ...unreachable('The host name does not resolve.') },
  { name: 'broken', answer: 'servfail', ...unreachable('The host name could not be looked up.') },
  { name: 'silent', answer: 'silent', outcome: 'timed_out', error: /^No complete answer in / },
  { name: 'internal', answer: [FORBIDDEN], ...blocked },
  { name: 'metadata', answer: ['169.254.169.254'], ...blocked },
  { name: 'alias', answer: [FORBIDDEN], alias: 'db.internal.example', ...blocked },
  { name: 'mixed', answer: [GOOD, FORBIDDEN], ...blocked },
  { name: 'mixed-first', answer: [FORBIDDEN, GOOD], ...blocked },
  { name: 'mixed-family', answer: [GOOD, '::1'], ...blocked },
  { name: 'mapped', answer: ['::ffff:10.0.0.1'], ...blocked },
  { name: 'mapped-loopback', answer: ['::ffff:127.0.0.1'], ...blocked },
  { name: 'nat64', answer: ['64:ff9b::7f00:1'], ...blocked },
  { name: '6to4', answer: ['2002:7f00:1::'], ...blocked },
]

test('names that do not resolve, hang or lead inside fail with a reason that tells no address, and work once they are right (D9, D10)', async () => {
  const hostOf = ({ name }: Case) => `${name}.example`
  for (const one of CASES) names.answer(hostOf(one), [one.answer], one.alias)
  const settings = CASES.map((one) => {
    const path = `/named/${one.name}`
    return { path, url: urlOf(hostOf(one), path), maxAttempts: 1, timeoutMs: ATTEMPT_MS }
  })
  const { lines, meet } = await createFanOut(product, tenant, settings)
  const deliveries = await meet(isSettled, TIMEOUT_MS)
  for (const [index, { state, attempts }] of deliveries.entries()) {
    const { name, outcome, error } = CASES[index] as Case
    const [attempt] = attempts
    expect([name, state, attempt?.outcome]).toEqual([name, 'given_up', outcome])
    expect(attempt?.error_message).toMatch(error)
    expect(attempt?.error_message).not.toMatch(/\d+\.\d+|::|internal/)
    expect([name, names.asked(hostOf(CASES[index] as Case))]).toEqual([name, 1])
  }
  expect(product.receiver.count).toBe(0)

  // Positive control: it was the name server's word alone that kept them away.
  for (const one of CASES) names.answer(hostOf(one), [[GOOD]])
  const isDelivered = ({ state }: { state: string }) => state === 'delivered'
  await waitFor(() => meet(isSettled, TIMEOUT_MS).then((all) => all.every(isDelivered)), {
    timeoutMs: TIMEOUT_MS,
    everyMs: 1_000,
    what: 'all names to be right',
  })
  for (const { path } of lines) {
    expect(reachable.received.some((one) => one.path === path)).toBe(true)
  }
  expect(product.receiver.count).toBe(0)
}, 180_000)

const DOWN = 6
const OWN_FAULTS = 'switchhook_own_faults_total'

test('a name server of ours that is down is charged to no delivery once it shows, opens no circuit, and all is delivered after it (D19)', async () => {
  const hosts = Array.from({ length: DOWN }, (_, index) => `down-${index}.example`)
  for (const host of hosts) names.answer(host, ['servfail'])
  const settings = hosts.map((host, index) => {
    const path = `/down/${index}/`
    return { path, url: urlOf(host, path), maxAttempts: 3, delaysSeconds: [1, 1] }
  })
  const { lines, meet } = await createFanOut(product, tenant, settings)
  const settling = meet(isSettled, 2 * TIMEOUT_MS)
  // As often as would have used up all attempts of all of them.
  const before = (await product.worker().metric(OWN_FAULTS)) ?? 0
  await product.worker().waitForMetric(OWN_FAULTS, (value) => value - before >= 2 * DOWN)
  for (const { destinationId } of lines) {
    const [waiting] = await tenant.api.list<ApiDelivery>(
      `/api/v1/deliveries?destination=${destinationId}`,
    )
    expect(waiting?.state).toBe('pending')
    const destination = await tenant.api.call<{ circuit: { state: string } }>(
      'GET',
      `/api/v1/destinations/${destinationId}`,
    )
    expect(destination.circuit.state).toBe('closed')
  }
  // Positive control: it is the name server; alone (above) such a host is given up after its attempts.
  for (const host of hosts) names.answer(host, [[GOOD]])
  const deliveries = await settling
  expect(deliveries.map(({ state }) => state)).toEqual(hosts.map(() => 'delivered'))
  // The first two hosts are charged: two alone prove nothing.
  const charged = deliveries.flatMap(({ attempts }) => attempts).length - DOWN
  expect(charged).toBeLessThanOrEqual(2)
}, 240_000)
