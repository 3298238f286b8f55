import { silentLogger } from '@switchhook/core/log'
import { openDatabase } from '@switchhook/core/store/database'
import { waitFor } from '@switchhook/testing/wait-for'
import { describe, expect, it } from 'vitest'
import { createKeyUses, startKeyUses } from './key-uses.ts'

describe('the uses of API keys', () => {
  it('are counted by key, with the time of the last one', () => {
    let nowMs = 0
    const uses = createKeyUses(() => (nowMs += 10))
    uses.note('a')
    uses.note('b')
    uses.note('a')
    expect(uses.take()).toEqual([
      { apiKeyId: 'a', count: 2, lastUsedAtMs: 30 },
      { apiKeyId: 'b', count: 1, lastUsedAtMs: 20 },
    ])
    expect(uses.take()).toEqual([])
  })

  it('that could not be written down are added to those that came since', () => {
    let nowMs = 0
    const uses = createKeyUses(() => (nowMs += 10))
    uses.note('a')
    const taken = uses.take()
    uses.note('a')
    uses.putBack(taken)
    expect(uses.take()).toEqual([{ apiKeyId: 'a', count: 2, lastUsedAtMs: 20 }])
  })

  it('take the memory of 10,000 keys and no more', () => {
    const uses = createKeyUses()
    for (let key = 0; key < 10_050; key += 1) uses.note(`key ${key}`)
    uses.note('key 1')
    const taken = uses.take()
    expect(taken).toHaveLength(10_000)
    expect(taken[1]?.count).toBe(2)
  })

  it('are kept while Postgres is away, and stopping does not wait for it', async () => {
    const warnings: string[] = []
    const database = openDatabase(
      {
        url: 'postgresql://nobody@127.0.0.1:1/none',
        applicationName: 'test',
        maxConnections: 1,
        queryTimeoutMs: 200,
      },
      silentLogger,
    )
    const log = { ...silentLogger, warn: (_: object, message: string) => warnings.push(message) }
    const uses = startKeyUses({ database, log, flushEveryMs: 5 })
    uses.note('a')
    const failedTwice = () => warnings.length >= 2
    await waitFor(failedTwice, { timeoutMs: 20_000, what: 'two failed flushes' })
    await uses.stop()
    expect(new Set(warnings)).toEqual(new Set(['key_uses.flush_failed']))
    await database.close()
  })
})
