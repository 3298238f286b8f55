import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { createSigningSecret } from '@switchhook/core/delivery/signature'
import { deliveryId } from '@switchhook/core/ids'
import { silentLogger } from '@switchhook/core/log'
import { openQueues } from '@switchhook/core/queue'
import { encryptSecret, parseKeyRing } from '@switchhook/core/secrets'
import { sealOf } from '@switchhook/core/store/config-changes'
import { writeJournal } from '@switchhook/core/store/journal'
import { createEvent } from './backlog.ts'
import type { BenchContext } from './bench-context.ts'
import { startProcess } from './child-process.ts'
import { epochMs } from './clock.ts'
import type { PathArrivals } from './destinations-receiver.main.ts'
import { KEYS, openRig, type Rig } from './rig.ts'
import { createWebhookBuilder } from './signed-webhooks.ts'
import { TENANT } from './tenant.ts'

export type SeededDestination = {
  readonly id: string
  /** At the receiver, e.g. /ok/7. */
  readonly path: string
  readonly timeoutMs?: number
  readonly maxConcurrency?: number
  readonly ratePerSecond?: number
}

/** When each event should have been there, by its id. */
export type Injected = ReadonlyMap<string, number>

/** A rig with many destinations, and deliveries put straight into both stores, as the ingress does. */
export type DestinationsRig = Rig & {
  seed(destinations: readonly SeededDestination[]): Promise<void>
  /** One event after the other at a fixed rate, the nth for `pick(n)`; resolves when the last is in both stores. */
  inject(count: number, ratePerSecond: number, pick: (index: number) => string): Promise<Injected>
  takePaths(): Promise<PathArrivals>
  countPaths(): Promise<number>
  /** What was dead, or hung, answers 200 from now on; when that was. */
  revive(): Promise<number>
  /** What hung in the beginning hangs again. */
  hang(): Promise<void>
}

const ASK_TIMEOUT_MS = 20_000
const ROWS_AT_ONCE = 1_000
const MAX_BATCH = 200
const TICK_MS = 4

export async function openDestinationsRig(context: BenchContext): Promise<DestinationsRig> {
  const { resources } = context
  const rig = await openRig(resources, context)
  const receiver = resources.adopt(
    await startProcess({
      ...{ name: 'many receivers', env: {}, withChannel: true },
      entry: new URL('destinations-receiver.main.ts', import.meta.url),
      logFile: join(rig.folder, 'many-receivers.log'),
    }),
    (process) => process.stop(),
  )
  const ask = <Answer>(kind: string): Promise<Answer> => receiver.ask({ kind }, ASK_TIMEOUT_MS)
  const { url } = await ask<{ url: string }>('url')
  const ring = parseKeyRing(KEYS)
  const queues = resources.adopt(openQueues(rig.redis, 1, silentLogger), (opened) => opened.close())
  const { formOf } = createWebhookBuilder(rig.run)
  let nextSequence = 0

  async function add(destinationIds: readonly string[]): Promise<string[]> {
    const entries = destinationIds.map((destinationId) => {
      const event = createEvent(rig.run, nextSequence, formOf(nextSequence))
      nextSequence += 1
      const owed = { deliveryId: deliveryId(event.id, destinationId), destinationId }
      return { event, deliveries: [owed] }
    })
    await writeJournal(rig.database.pool, entries)
    const jobs = entries.flatMap(({ event, deliveries }) =>
      deliveries.map((owed) =>
        createDeliveryJob(
          { ...owed, createdAtMs: event.receivedAtMs, priorAttempts: 0, requeued: false },
          event,
          'small',
        ),
      ),
    )
    await Promise.all(jobs.map((job) => queues.addDelivery(job)))
    return entries.map(({ event }) => event.id)
  }

  return {
    ...rig,
    sampleCpu: (...processes) =>
      rig.sampleCpu(...processes, receiver, { name: 'bench', pid: process.pid }),
    async seed(destinations) {
      // The columns that a migration adds later have their defaults: the tenant's own destination is the pattern.
      for (let from = 0; from < destinations.length; from += ROWS_AT_ONCE) {
        const rows = destinations.slice(from, from + ROWS_AT_ONCE).map((one) => ({
          id: one.id,
          url: url + one.path,
          timeout_ms: one.timeoutMs ?? 10_000,
          max_concurrency: one.maxConcurrency ?? 50,
          rate_limit_per_second: one.ratePerSecond ?? null,
          secret: encryptSecret(ring, createSigningSecret(), sealOf(one.id, 'secret')),
        }))
        await rig.database.pool.query(
          `insert into destinations (id, organization_id, name, url, format, event_types, success_rule, timeout_ms,
             max_attempts, delays_seconds, jitter, rate_limit_per_second, max_concurrency, headers, status, secret)
           select r.id, $1, r.id, r.url, 'burki', '{never}', '2xx', r.timeout_ms, 10, '{60,300,1200}', true,
             r.rate_limit_per_second, r.max_concurrency, '{}', 'active', r.secret
             from jsonb_to_recordset($2::jsonb) as r(id text, url text, timeout_ms int, max_concurrency int,
               rate_limit_per_second float8, secret text)`,
          [TENANT.organizationId, JSON.stringify(rows)],
        )
      }
    },
    async inject(count, ratePerSecond, pick) {
      const startAtMs = epochMs()
      const injected = new Map<string, number>()
      let made = 0
      while (made < count) {
        const due = Math.min(count, Math.ceil(((epochMs() - startAtMs) * ratePerSecond) / 1_000))
        const ids = Array.from({ length: Math.min(due - made, MAX_BATCH) }, (_, at) =>
          pick(made + at),
        )
        if (ids.length > 0) {
          for (const [at, id] of (await add(ids)).entries()) {
            injected.set(id, startAtMs + ((made + at) * 1_000) / ratePerSecond)
          }
          made += ids.length
        }
        if (made >= due) await sleep(TICK_MS)
      }
      return injected
    },
    takePaths: () => ask('take'),
    countPaths: async () => (await ask<{ count: number }>('count')).count,
    revive: async () => (await ask<{ atMs: number }>('revive')).atMs,
    hang: async () => void (await ask('hang')),
  }
}
