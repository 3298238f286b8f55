import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Route } from '../src/api/define-route.ts'
import { kudosityDialect } from '../src/api/dialects.ts'
import { routes } from '../src/api/routes.ts'
import { addEverything, fill, type Ids, UNKNOWN } from './access-ids.ts'
import { ADMIN_KEY, type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const UNAUTHENTICATED = {
  detail: 'Authentication required. Provide a valid API key or login session.',
}

let app: ApiTestApp
let tenant: Tenant
let other: Tenant
let theirs: Ids

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant()
  other = await app.createTenant()
  theirs = await addEverything(app, other)
})
afterAll(() => app.close())

const title = ({ method, path }: Route) => `${method.toUpperCase()} ${path}`
const titled = (list: readonly Route[]) => list.map((route) => ({ title: title(route), route }))
const tenantRoutes = routes.filter(({ access }) => access !== 'admin_api_key')
const routesOfOne = tenantRoutes.filter(({ path }) => path.includes('{'))

describe('what belongs to another organization', () => {
  it.each(titled(routesOfOne))('$title answers as for what nobody has', async ({ route }) => {
    const method = route.method.toUpperCase()
    const [example = {}] = [route.body?.meta()?.examples ?? []].flat()
    const body = route.body === undefined ? undefined : example
    const foreign = fill(route, theirs)
    const unknown = fill(route, UNKNOWN)
    const forForeign = await tenant.call(method, foreign.path, body)
    const forUnknown = await tenant.call(method, unknown.path, body)
    expect(forForeign.status).toBe(404)
    expect(forForeign.text.replaceAll(foreign.id, '…')).toBe(
      forUnknown.text.replaceAll(unknown.id, '…'),
    )
  })

  it('is still there, unchanged, after all of that', async () => {
    for (const route of routesOfOne.filter(({ method }) => method === 'get')) {
      const answer = await other.call('GET', fill(route, theirs).path)
      // Its provider is not there to be asked; that it is the organization's own was found before.
      const isAtProvider = route.path.endsWith('/{phone_number}/webhooks')
      expect(answer.status, title(route)).toBe(isAtProvider ? 500 : 200)
    }
  })

  it.each(
    titled(tenantRoutes.filter(({ method, path }) => method === 'get' && !path.includes('{'))),
  )('$title shows nothing of it', async ({ route }) => {
    const answer = await tenant.call('GET', route.path)
    expect(answer.status).toBe(200)
    const { apiKey, account, destination, event, quarantined, webhook } = theirs
    for (const id of [other.id, apiKey, account, destination, event, quarantined, webhook]) {
      expect(answer.text).not.toContain(id)
    }
  })

  it('cannot be named in a body either', async () => {
    const foreign = Number(theirs.assistant)
    const number = await tenant.create('/api/v1/phone-numbers', {
      phone_number: '+61400000002',
      provider: 'twilio',
    })
    const mine = await tenant.create('/api/v1/destinations', { url: 'https://example.com/' })
    const attempts = [
      ['POST', '/api/v1/phone-numbers', { phone_number: '+61400000003', provider: 'twilio' }],
      ['PATCH', `/api/v1/phone-numbers/${number.id}`, {}],
      ['POST', '/api/v1/destinations', { url: 'https://example.com/' }],
      ['PATCH', `/api/v1/destinations/${mine.id}`, {}],
    ] as const
    for (const [method, path, body] of attempts) {
      const forForeign = await tenant.call(method, path, { ...body, assistant_id: foreign })
      const forUnknown = await tenant.call(method, path, { ...body, assistant_id: 999_999 })
      expect(forForeign.status).toBe(404)
      expect(forForeign.text).toBe(forUnknown.text)
    }
  })
})

describe('scopes', () => {
  const held = { read: ['read'], write: ['write'], admin: ['admin'] } as const
  const covered = { read: 0, write: 1, admin: 2 } as const

  it.each(titled(tenantRoutes))('$title is for keys with its scope', async ({ route }) => {
    if (route.access === 'admin_api_key') return
    for (const scope of ['read', 'write', 'admin'] as const) {
      const key = await app.createKey(tenant, held[scope])
      // A body that no route takes: whoever is let through gets no further.
      const answer = await app.send(route.method.toUpperCase(), route.path.replace('{', '%7B'), {
        key,
        ...(route.method === 'get' ? {} : { body: { 'no such field': 1 } }),
      })
      const isCovered = covered[scope] >= covered[route.access]
      expect(answer.status === 403, `${scope}: ${answer.status} ${answer.text}`).toBe(!isCovered)
      if (!isCovered) expect(answer.body.detail ?? answer.body.error).toContain(route.access)
    }
  })
})

describe('authentication', () => {
  it.each(titled(routes))('$title is closed without a key', async ({ route }) => {
    const answer = await app.send(route.method.toUpperCase(), route.path)
    expect(answer.status).toBe(401)
    if (route.dialect === kudosityDialect) {
      expect(answer.body).toEqual({ error: expect.any(String) })
      return
    }
    expect(answer.body).toEqual(UNAUTHENTICATED)
    expect(answer.headers.get('www-authenticate')).toBe('Bearer')
  })

  it.each([
    ['no scheme', (key: string) => key],
    ['another scheme', (key: string) => `Basic ${key}`],
    ['nothing behind the scheme', () => 'Bearer'],
    ['spaces behind the scheme', () => 'Bearer   '],
    ['two keys', (key: string) => `Bearer ${key} ${key}`],
    ['a list', (key: string) => `Bearer ${key}, Bearer ${key}`],
    [
      'a wrong secret',
      (key: string) => `Bearer ${key.slice(0, -1)}${key.endsWith('a') ? 'b' : 'a'}`,
    ],
    ['a cut secret', (key: string) => `Bearer ${key.slice(0, -1)}`],
    ['a longer secret', (key: string) => `Bearer ${key}a`],
    ['an upper-case key', (key: string) => `Bearer ${key.toUpperCase()}`],
    ['an unknown id', () => `Bearer swh_${'a'.repeat(12)}_${'a'.repeat(52)}`],
    ['a prototype name', () => `Bearer swh_constructor_${'a'.repeat(52)}`],
    ['10 kB', () => `Bearer swh_${'a'.repeat(10_000)}`],
    ['bytes above ASCII', () => 'Bearer swh_\u00e9'],
    ['the admin key', () => `Bearer ${ADMIN_KEY}`],
  ])('%s is no key', async (_name, header) => {
    const headers = { authorization: header(tenant.key) }
    const answer = await app.send('GET', '/api/v1/organization', { headers })
    expect([answer.status, answer.body]).toEqual([401, UNAUTHENTICATED])
  })

  it('the scheme may be written in any case', async () => {
    const headers = { authorization: `bEARER ${tenant.key}` }
    expect((await app.send('GET', '/api/v1/organization', { headers })).status).toBe(200)
  })

  it('a key in the query is no key', async () => {
    const path = `/api/v1/organization?api_key=${tenant.key}`
    expect((await app.send('GET', path)).status).toBe(401)
  })

  it("only the admin key makes organizations; a tenant's is not enough, a wrong one unknown", async () => {
    const body = { name: 'New' }
    const path = '/api/v1/organizations'
    expect((await tenant.call('POST', path, body)).status).toBe(403)
    expect((await app.send('POST', path, { key: `${ADMIN_KEY}x`, body })).status).toBe(401)
    expect((await app.send('POST', path, { key: 'undefined', body })).status).toBe(401)
  })
})
