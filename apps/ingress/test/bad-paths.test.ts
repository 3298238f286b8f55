import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const HOOK = 'https://example.com/'
const DESTINATIONS = '/api/v1/destinations'

let app: ApiTestApp
let tenant: Tenant
let path: string

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant()
  const { id } = await tenant.create(DESTINATIONS, { url: HOOK })
  path = `${DESTINATIONS}/${id}`
})
afterAll(() => app.close())

describe('paths', () => {
  const IDS = [
    ...['..%2fetc', '%00', "'; drop", 'DST_AAAA', 'a'.repeat(5_000), 'undefined', 'NaN', '0', '-1'],
    ...['constructor', '1.5', '01', '9223372036854775808', '%F0%9F%91%8B', '1e3'],
  ]
  it.each(IDS.map((id) => ({ id, start: id.slice(0, 40) })))(
    'the id "$start" names nothing',
    async ({ id }) => {
      const kinds = ['destinations', 'assistants', 'phone-numbers', 'provider-accounts', 'api-keys']
      for (const kind of kinds) {
        const unknown = await tenant.call('GET', `/api/v1/${kind}/${'a'.repeat(12)}`)
        const answer = await tenant.call('GET', `/api/v1/${kind}/${encodeURI(decodeURI(id))}`)
        expect([answer.status, answer.text]).toEqual([404, unknown.text])
        expect((await tenant.call('DELETE', `/api/v1/${kind}/${id}`)).status).toBe(404)
      }
    },
  )

  it('a method that a path does not have is 405 and says which it has', async () => {
    const answer = await tenant.call('PUT', path)
    expect(answer.status).toBe(405)
    expect(answer.headers.get('allow')?.split(', ').sort()).toEqual([
      'DELETE',
      'GET',
      'HEAD',
      'PATCH',
    ])
    expect((await tenant.call('OPTIONS', DESTINATIONS)).status).toBe(405)
    expect((await app.send('POST', '/openapi.json')).status).toBe(405)
  })

  it.each([
    '/api/v1/nothing',
    '/API/v1/destinations',
    '//api/v1/destinations',
    '/.env',
    '/metrics',
  ])('%s is 404 in JSON', async (unknown) => {
    const answer = await tenant.call('GET', unknown)
    expect([answer.status, answer.body]).toEqual([404, { detail: 'Not Found' }])
  })

  it('HEAD answers as GET without the body', async () => {
    const answer = await tenant.call('HEAD', DESTINATIONS)
    expect([answer.status, answer.text]).toEqual([200, ''])
  })
})

describe('every answer', () => {
  it('is not to be kept, guessed at, or read by another origin', async () => {
    const answer = await app.send('GET', DESTINATIONS, {
      key: tenant.key,
      headers: { origin: 'https://evil.example', accept: 'text/html' },
    })
    expect(answer.status).toBe(200)
    const headers = Object.fromEntries(answer.headers)
    expect(headers).toMatchObject({
      'cache-control': 'no-store',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
      'content-type': 'application/json; charset=utf-8',
    })
    for (const name of ['access-control-allow-origin', 'x-powered-by', 'etag']) {
      expect(headers).not.toHaveProperty(name)
    }
  })
})
