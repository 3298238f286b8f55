import {
  type CircuitChange,
  openSharedCircuits,
  type SharedCircuits,
  subscribeToCircuits,
} from '@switchhook/core/circuits'
import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import { silentLogger } from '@switchhook/core/log'
import { closeRedis, openRedis } from '@switchhook/core/redis'
import { waitFor } from '@switchhook/testing/wait-for'
import { type CircuitBreakers, createCircuitBreakers } from '../src/circuit-breakers.ts'

const facts = { statusCode: null, responseBody: null, responseTimeMs: 1, retryAfterMs: null }
export const DELIVERED: AttemptResult = { ...facts, outcome: 'delivered', error: null }
export const REFUSED: AttemptResult = { ...facts, outcome: 'refused', error: 'no' }
export const OUR_FAULT: AttemptResult = { ...REFUSED, isOurFault: true }

/**
 * As long as it takes: on a machine that stands still for half a second a worker would go on alone, which is not what
 * most tests of a fleet are about.
 */
export const PATIENCE_MS = 20_000

/** The circuit breakers of one worker, on connections of its own. */
export type FleetMember = {
  readonly circuits: CircuitBreakers
  readonly changes: CircuitChange[]
  /** How many scripts Redis has run since it started, for all workers. */
  countScripts(): Promise<number>
  attempt(
    delivery: string,
    result: AttemptResult | (() => Promise<AttemptResult>),
    destination?: string,
  ): Promise<AttemptResult | 'held'>
  close(): Promise<void>
}

export type FleetMemberOptions = {
  readonly redisUrl: string
  /** Unless told, as `redisUrl`: where its subscription is. */
  readonly subscriberUrl?: string
  readonly firstPauseMs?: number
  readonly maxPauseMs?: number
  readonly timeoutMs?: number
  /** As in production: half a second. */
  readonly isImpatient?: boolean
  /** Stands between the worker and what it asks of Redis. */
  readonly intercept?: (shared: SharedCircuits) => SharedCircuits
}

async function createMember(options: FleetMemberOptions): Promise<FleetMember> {
  const { redisUrl, subscriberUrl = redisUrl, timeoutMs = 30_000 } = options
  const { intercept = (shared) => shared } = options
  const connection = openRedis(
    { url: redisUrl, clusterNodes: [] },
    { kind: 'answering', commandTimeoutMs: PATIENCE_MS },
    silentLogger,
  )
  const subscriber = openRedis(
    { url: subscriberUrl, clusterNodes: [] },
    { kind: 'working' },
    silentLogger,
  )
  await waitFor(() => connection.ping(), { timeoutMs: PATIENCE_MS, what: 'Redis' })
  const changes: CircuitChange[] = []
  const circuits = createCircuitBreakers({
    shared: intercept(openSharedCircuits(connection)),
    subscribe: (hear) => subscribeToCircuits(subscriber, hear),
    firstPauseMs: options.firstPauseMs ?? 60_000,
    maxPauseMs: options.maxPauseMs ?? 60_000,
    ...(options.isImpatient === true ? {} : { answerTimeoutMs: PATIENCE_MS }),
    onChange: (change) => changes.push(change),
    log: silentLogger,
  })
  return {
    ...{ circuits, changes },
    async countScripts() {
      const stats = String(await connection.info('commandstats'))
      return Number(/^cmdstat_eval:calls=(\d+)/m.exec(stats)?.[1] ?? 0)
    },
    attempt: (delivery, result, destination = 'dst_1') =>
      circuits.run({ id: destination, timeoutMs }, delivery, async () =>
        typeof result === 'function' ? result() : result,
      ),
    async close() {
      circuits.close()
      await Promise.all([closeRedis(connection), closeRedis(subscriber)])
    },
  }
}

/** Workers that know which circuits are open. */
export async function startFleet(
  size: number,
  options: FleetMemberOptions,
): Promise<FleetMember[]> {
  const members = await Promise.all(Array.from({ length: size }, () => createMember(options)))
  await Promise.all(members.map(({ circuits }) => circuits.waitUntilLoaded()))
  return members
}

/** The fewest failures that do it. */
export async function openCircuit(by: FleetMember, destination?: string): Promise<void> {
  for (let count = 0; count < 11; count += 1) {
    await by.attempt(`dlv_${count % 3}`, REFUSED, destination)
  }
}
