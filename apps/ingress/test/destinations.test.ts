import { signingKey } from '@switchhook/core/delivery/signature'
import { decryptSecret } from '@switchhook/core/secrets'
import { sealOf } from '@switchhook/core/store/config-changes'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const HOOK = 'https://receiver.example.com/hook'

let app: ApiTestApp
let tenant: Tenant

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant()
})
afterAll(() => app.close())

async function destinationsOf() {
  const answer = await tenant.call('GET', '/api/v1/destinations?limit=200')
  return answer.body.items
}

describe('destinations', () => {
  it('one made of a URL alone has the documented defaults', async () => {
    const destination = await tenant.create('/api/v1/destinations', { url: HOOK })
    expect(destination).toEqual({
      id: expect.stringMatching(/^dst_[a-z2-7]{26}$/),
      name: 'receiver.example.com',
      url: HOOK,
      format: 'burki',
      event_types: ['*'],
      assistant_id: null,
      phone_number: null,
      filter: null,
      skip_stale: false,
      fallback_email: null,
      success_rule: '2xx',
      timeout_ms: 10_000,
      retry: {
        max_attempts: 10,
        delays_seconds: [5, 15, 45, 135, 405, 1215, 3600, 3600, 3600],
        jitter: true,
      },
      rate_limit_per_second: null,
      max_concurrency: 50,
      freshness_seconds: null,
      headers: {},
      status: 'active',
      circuit: { state: 'closed', opened_at: null, next_probe_at: null },
      public_key: null,
      disabled_at: null,
      disabled_reason: null,
      implied_by: null,
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      secret: expect.stringMatching(/^whsec_/),
    })
  })

  it('every setting can be given, and is kept', async () => {
    const settings = {
      name: 'All of it <b>',
      url: 'https://receiver.example.com:8443/a?b=c',
      format: 'pbx',
      event_types: ['sms_received', 'call_ended'],
      phone_number: '+61400000001',
      fallback_email: 'ops+hooks@example.com',
      success_rule: '2xx',
      timeout_ms: 2500,
      retry: { max_attempts: 3, delays_seconds: [0.5, 2], jitter: false },
      rate_limit_per_second: 0.5,
      max_concurrency: 3,
      freshness_seconds: 600,
      headers: { 'X-Tenant': 'one two', Authorization: 'Bearer abc', 'user-agent': 'Mine/1' },
      status: 'paused',
    }
    const made = await tenant.create('/api/v1/destinations', settings)
    expect(made).toMatchObject(settings)
    const shown = await tenant.call('GET', `/api/v1/destinations/${made.id}`)
    expect(shown.body).toEqual({ ...made, secret: undefined })
    expect(app.deps.snapshot.findDestination(made.id)).toMatchObject({
      headers: {},
      sealedHeaders: expect.any(String),
      retry: { maxAttempts: 3, delaysSeconds: [0.5, 2], jitter: false },
      status: 'paused',
    })
  })

  it('for the PBX exactly 200 is success unless it says otherwise', async () => {
    const { success_rule } = await tenant.create('/api/v1/destinations', {
      url: HOOK,
      format: 'pbx',
    })
    expect(success_rule).toBe('exact_200')
  })

  it('a PATCH changes what it names and nothing else, parts of retry included', async () => {
    const { secret: _, ...made } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const path = `/api/v1/destinations/${made.id}`
    const changed = await tenant.call('PATCH', path, { retry: { max_attempts: 4 }, name: 'New' })
    expect(changed.body).toEqual({
      ...made,
      name: 'New',
      retry: { ...made.retry, max_attempts: 4 },
    })
    expect((await tenant.call('PATCH', path, {})).body).toEqual(changed.body)
  })

  it('fifty changes at once are all there in the end', { timeout: 90_000 }, async () => {
    const { id } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const path = `/api/v1/destinations/${id}`
    const changes = [
      { name: 'Together' },
      { timeout_ms: 1234 },
      { max_concurrency: 7 },
      { fallback_email: 'a@example.com' },
      { retry: { max_attempts: 2 } },
    ]
    /** Again after a 503: fifty that wait for one row take their time on a slow machine. */
    const patch = async (body: object | undefined) => {
      const ask = async () => {
        const { status } = await tenant.call('PATCH', path, body)
        return status !== 503 && status
      }
      return await waitFor(ask, { timeoutMs: 25_000, what: 'the change' })
    }
    const statuses = await Promise.all(
      Array.from({ length: 50 }, (_, index) => patch(changes[index % 5])),
    )
    expect(statuses).toEqual(Array(50).fill(200))
    expect((await tenant.call('GET', path)).body).toMatchObject({
      name: 'Together',
      timeout_ms: 1234,
      max_concurrency: 7,
      fallback_email: 'a@example.com',
      retry: { max_attempts: 2, jitter: true },
    })
  })

  it('pause, resume and disable are known to the next event', async () => {
    const { id } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const path = `/api/v1/destinations/${id}`
    const known = () => app.deps.snapshot.findDestination(id)?.status
    expect((await tenant.call('POST', `${path}/pause`)).body.status).toBe('paused')
    expect(known()).toBe('paused')
    expect((await tenant.call('POST', `${path}/resume`)).body.status).toBe('active')
    expect(known()).toBe('active')
    expect((await tenant.call('PATCH', path, { status: 'disabled' })).body.status).toBe('disabled')
    expect(known()).toBe('disabled')
  })

  it('a rotated secret is new; the one before stays for 24 hours and no longer', async () => {
    const { id, secret } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const open = (envelope: string) => decryptSecret(app.deps.ring, envelope, sealOf(id, 'secret'))
    const rotated = await tenant.call('POST', `/api/v1/destinations/${id}/rotate-secret`)
    expect(rotated.status).toBe(200)
    expect(Object.keys(rotated.body)).toEqual(['secret'])
    expect(signingKey(rotated.body.secret).symmetricKeySize).toBe(32)
    expect(rotated.body.secret).not.toBe(secret)
    const stored = app.deps.snapshot.findDestination(id)
    expect(open(stored?.secret ?? '')).toBe(rotated.body.secret)
    expect(open(stored?.previousSecret ?? '')).toBe(secret)
    const overlapMs = (stored?.previousSecretExpiresAtMs ?? 0) - Date.now()
    expect(overlapMs).toBeGreaterThan(86_300_000)
    expect(overlapMs).toBeLessThanOrEqual(86_400_000)
  })

  it('one that is deleted is gone at once, everywhere', async () => {
    const { id } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const path = `/api/v1/destinations/${id}`
    expect((await tenant.call('DELETE', path)).status).toBe(204)
    expect(app.deps.snapshot.findDestination(id)).toBeUndefined()
    for (const [method, rest] of [
      ['DELETE', ''],
      ['GET', ''],
      ['POST', '/pause'],
      ['POST', '/rotate-secret'],
    ] as const) {
      expect((await tenant.call(method, path + rest)).status).toBe(404)
    }
    expect((await destinationsOf()).map((item: { id: string }) => item.id)).not.toContain(id)
  })
})
