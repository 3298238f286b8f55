import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '@switchhook/core/log'
import { type ApiKeyUse, addApiKeyUses } from '@switchhook/core/store/api-key-uses'
import type { DatabaseHandle } from '@switchhook/core/store/database'

const FLUSH_EVERY_MS = 10_000
/** More keys than an ingress ever sees in 10 s; what is beyond is not counted. */
const MAX_KEYS = 10_000

export type KeyUses = {
  /** Counts one use, in memory. */
  note(apiKeyId: string): void
  /** What was counted since the last time. */
  take(): ApiKeyUse[]
  /** Counts again what could not be written down. */
  putBack(uses: readonly ApiKeyUse[]): void
}

/** Counts uses of API keys in memory, one entry per key. */
export function createKeyUses(nowMs: () => number = Date.now): KeyUses {
  let counted = new Map<string, ApiKeyUse>()

  function add({ apiKeyId, count, lastUsedAtMs }: ApiKeyUse): void {
    const known = counted.get(apiKeyId)
    if (known === undefined && counted.size >= MAX_KEYS) return
    counted.set(apiKeyId, {
      apiKeyId,
      count: (known?.count ?? 0) + count,
      lastUsedAtMs: Math.max(known?.lastUsedAtMs ?? 0, lastUsedAtMs),
    })
  }

  return {
    note: (apiKeyId) => add({ apiKeyId, count: 1, lastUsedAtMs: nowMs() }),
    take() {
      const uses = [...counted.values()]
      counted = new Map()
      return uses
    },
    putBack: (uses) => uses.forEach(add),
  }
}

export type KeyUsesDeps = {
  readonly database: DatabaseHandle
  readonly log: Logger
  readonly flushEveryMs?: number
}

/** Counts, and writes down every 10 s what was counted: a crash loses no more than that. `stop` writes down the rest. */
export function startKeyUses({ database, log, flushEveryMs = FLUSH_EVERY_MS }: KeyUsesDeps): {
  note(apiKeyId: string): void
  stop(): Promise<void>
} {
  const uses = createKeyUses()
  const stopping = new AbortController()

  async function flush(): Promise<void> {
    const taken = uses.take()
    if (taken.length === 0) return
    try {
      await addApiKeyUses(database.db, taken)
    } catch (error) {
      uses.putBack(taken)
      log.warn({ error }, 'key_uses.flush_failed')
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await sleep(flushEveryMs, undefined, { signal: stopping.signal }).catch(() => undefined)
      await flush()
    }
  }
  const running = run()

  return {
    note: uses.note,
    async stop() {
      stopping.abort()
      await running
    },
  }
}
