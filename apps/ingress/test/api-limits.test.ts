import { silentLogger } from '@switchhook/core/log'
import { openDatabase } from '@switchhook/core/store/database'
import { startChaosProxy } from '@switchhook/testing/chaos-proxy'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp } from './api-test-app.ts'

const ORGANIZATION = '/api/v1/organization'

describe('too many requests', () => {
  let app: ApiTestApp
  beforeAll(async () => {
    app = await startApiTestApp({ rateLimitPerSecond: 5 })
  })
  afterAll(() => app.close())

  it('a key over its rate is told when to come back; another key is not affected', async () => {
    const tenant = await app.createTenant()
    const other = await app.createTenant()
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => tenant.call('GET', ORGANIZATION)),
    )
    const refused = answers.filter(({ status }) => status === 429)
    expect(refused.length).toBeGreaterThan(0)
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThan(0)
    // 0 is true of one whose second was over before it was answered.
    const waits = refused.map(({ headers }) => Number(headers.get('retry-after')))
    expect(Math.max(...waits)).toBeGreaterThan(0)
    expect(refused[0]?.body).toEqual({ detail: expect.any(String) })
    expect((await other.call('GET', ORGANIZATION)).status).toBe(200)
  })

  it('guessing keys ends in 429, and a good key from the same address still works', async () => {
    const tenant = await app.createTenant()
    const statuses = new Set<number>()
    for (let batch = 0; batch < 8; batch += 1) {
      const answers = await Promise.all(
        Array.from({ length: 50 }, () => app.send('GET', ORGANIZATION, { key: 'swh_guess' })),
      )
      for (const { status } of answers) statuses.add(status)
    }
    expect(statuses).toEqual(new Set([401, 429]))
    expect((await tenant.call('GET', ORGANIZATION)).status).toBe(200)
  })
})

describe('before the snapshot is loaded', () => {
  it('every request is 503 with Retry-After, a good key is not called a bad one', async () => {
    const app = await startApiTestApp({ isReady: () => false })
    try {
      const answer = await app.send('GET', ORGANIZATION, { key: 'swh_any' })
      expect(answer.status).toBe(503)
      expect(answer.headers.get('retry-after')).toBe('1')
      expect((await app.send('GET', '/openapi.json')).status).toBe(200)
    } finally {
      await app.close()
    }
  })
})

describe('with Postgres away', () => {
  it.each(['refuse', 'blackhole'] as const)(
    '%s: reads and changes are 503 within 3 s, without a word about why',
    async (mode) => {
      const app = await startApiTestApp()
      const url = new URL(app.databaseUrl)
      await using proxy = await startChaosProxy({
        targetHost: url.hostname,
        targetPort: Number(url.port),
      })
      url.host = `127.0.0.1:${proxy.port}`
      const options = { applicationName: 'api-test', maxConnections: 3, queryTimeoutMs: 8_000 }
      const throughProxy = openDatabase({ ...options, url: url.href }, silentLogger)
      const tenant = await app.createTenant()
      const faulty = await startApiTestApp({
        database: throughProxy,
        snapshot: app.deps.snapshot,
        configChanged: app.deps.configChanged,
      })
      try {
        const send = (method: string, path: string, body?: unknown) =>
          faulty.send(method, path, { key: tenant.key, ...(body === undefined ? {} : { body }) })
        expect((await send('GET', ORGANIZATION)).status).toBe(200)
        proxy.mode(mode)
        // Told by ticks, of which a machine that stands still misses some: it is not the API that is late then.
        let ticks = 0
        const ticking = setInterval(() => (ticks += 1), 100)
        const answers = await Promise.all([
          send('GET', ORGANIZATION),
          send('GET', '/api/v1/destinations'),
          send('POST', '/api/v1/destinations', { url: 'https://example.com/' }),
        ])
        clearInterval(ticking)
        expect(ticks).toBeLessThanOrEqual(32)
        for (const { status, headers, body } of answers) {
          expect(status).toBe(503)
          expect(headers.get('retry-after')).toBe('1')
          expect(body).toEqual({ detail: 'The database does not answer' })
        }
        proxy.mode('pass')
        expect((await send('GET', ORGANIZATION)).status).toBe(200)
      } finally {
        await faulty.close()
        await throughProxy.close()
        await app.close()
      }
    },
  )
})
