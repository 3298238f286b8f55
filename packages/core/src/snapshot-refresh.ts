import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from './log.ts'
import type { RedisConnection } from './redis.ts'
import type { ConfigChanges, Snapshot } from './routing/snapshot.ts'

const CHANNEL = 'switchhook:config-changed'
const POLL_EVERY_MS = 900
const RETRY_FIRST_LOAD_MS = 500

export type SnapshotRefresh = {
  /** Resolves when the snapshot holds everything that was committed before the call. Rejects when Postgres is away. */
  refresh(): Promise<void>
  isLoaded(): boolean
  stop(): Promise<void>
}

export type SnapshotRefreshDeps = {
  readonly snapshot: Snapshot
  readonly findChanges: (sinceVersion: number) => Promise<ConfigChanges>
  /** A connection of its own: a subscribed one can do nothing else. */
  readonly subscriber: RedisConnection
  readonly log: Logger
}

/** Tells every process that the configuration changed. Lost messages cost one poll (0.9 s), so failing is allowed. */
export async function announceConfigChange(connection: RedisConnection): Promise<void> {
  await connection.publish(CHANNEL, '').catch(() => undefined)
}

/**
 * Keeps the snapshot up to date: on a Redis message at once, by a slow poll at the latest. With Postgres away the
 * last state is served.
 */
export function startSnapshotRefresh(deps: SnapshotRefreshDeps): SnapshotRefresh {
  const { snapshot, log } = deps
  const stopping = new AbortController()
  let loaded = false
  let running: Promise<void> | undefined

  async function load(): Promise<void> {
    const changes = await deps.findChanges(snapshot.version())
    snapshot.apply(changes)
    if (!loaded) log.info({ config_version: snapshot.version() }, 'snapshot.loaded')
    loaded = true
  }

  /** A load under way may have read before the caller's change was committed, so its end is followed by another. */
  async function refresh(): Promise<void> {
    await running?.catch(() => undefined)
    running ??= load().finally(() => {
      running = undefined
    })
    await running
  }

  async function poll(): Promise<void> {
    let isFailing = false
    while (!stopping.signal.aborted) {
      try {
        await refresh()
        isFailing = false
      } catch (error) {
        if (!isFailing) log.warn({ error, loaded }, 'snapshot.refresh_failed')
        isFailing = true
      }
      const pauseMs = loaded ? POLL_EVERY_MS : RETRY_FIRST_LOAD_MS
      await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  deps.subscriber.on('message', () => {
    refresh().catch(() => undefined) // The poll tells the log.
  })
  deps.subscriber.subscribe(CHANNEL).catch(() => undefined) // ioredis subscribes again when it connects.
  const polling = poll()

  return {
    refresh,
    isLoaded: () => loaded,
    async stop() {
      stopping.abort()
      await polling
    },
  }
}
