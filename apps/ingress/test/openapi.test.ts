import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { routes } from '../src/api/routes.ts'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

type Operation = {
  operationId: string
  security: unknown
  parameters: { name: string; in: string }[]
  requestBody?: unknown
  responses: Record<string, { description: string; content?: unknown }>
}
type Document = {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { securitySchemes: unknown; schemas: Record<string, unknown> }
}

let app: ApiTestApp
let tenant: Tenant
let document: Document

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant()
  document = (await app.send('GET', '/openapi.json')).body
})
afterAll(() => app.close())

const operations = () =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  )

describe('/openapi.json', () => {
  it('has every route, and no other', () => {
    const documented = operations().map(({ method, path }) => `${method} ${path}`)
    expect(documented.sort()).toEqual(routes.map(({ method, path }) => `${method} ${path}`).sort())
  })

  it('every documented operation is served under its method: none is 404 without a body or 405', async () => {
    for (const { method, path } of operations()) {
      const { status } = await app.send(method.toUpperCase(), path.replaceAll(/[{}]/g, ''))
      expect(status, `${method} ${path}`).toBe(401)
    }
  })

  it('every operation asks for a bearer key, names its parameters and its errors', () => {
    expect(document.openapi).toBe('3.1.0')
    expect(document.components.securitySchemes).toMatchObject({
      bearerAuth: { type: 'http', scheme: 'bearer' },
    })
    for (const { path, method, operation } of operations()) {
      const isKudosity = path.startsWith('/v2/webhook')
      expect(operation.security).toEqual([isKudosity ? { apiKeyAuth: [] } : { bearerAuth: [] }])
      const inPath = operation.parameters.filter((parameter) => parameter.in === 'path')
      const braces = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
      expect(inPath.map(({ name }) => name)).toEqual(braces)
      const statuses = Object.keys(operation.responses)
      const invalid = isKudosity ? [] : ['422']
      const shared = ['401', '403', '429', '503', ...invalid]
      expect(statuses, path).toEqual(expect.arrayContaining(shared))
      expect(statuses.some((status) => status.startsWith('2'))).toBe(true)
      const ofBody = isKudosity ? ['400'] : ['400', '413', '415']
      if (method !== 'get') expect(statuses).toEqual(expect.arrayContaining(ofBody))
      if (braces.length > 0) expect(statuses).toContain('404')
    }
  })

  it('every operation has an id of its own, and every reference leads somewhere', () => {
    const ids = operations().map(({ operation }) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)]
    expect(references.length).toBeGreaterThan(50)
    for (const [, reference = ''] of references) {
      const name = reference.replace('#/components/schemas/', '')
      expect(document.components.schemas, reference).toHaveProperty(name)
    }
  })

  it('every example is a valid body', () => {
    const examples = routes.flatMap(({ body }) =>
      [body?.meta()?.examples ?? []].flat().map((example) => ({ body, example })),
    )
    expect(examples.length).toBeGreaterThan(8)
    for (const { body, example } of examples) {
      expect(body?.safeParse(example).error).toBeUndefined()
    }
  })

  it('what is answered is what is documented', async () => {
    const bodies: Record<string, unknown> = {
      '/api/v1/organization': undefined,
      '/api/v1/destinations': { url: 'https://example.com/' },
      '/api/v1/assistants': { name: 'One', webhook_url: 'https://example.com/' },
      '/api/v1/phone-numbers': { phone_number: '+61400000001', provider: 'twilio' },
      '/api/v1/provider-accounts': {
        provider: 'twilio',
        account_sid: `AC${'0'.repeat(32)}`,
        auth_token: 'x',
      },
      '/api/v1/api-keys': {},
      '/api/v1/quarantine': undefined,
      '/v2/webhook': { name: 'One', url: 'https://example.com/' },
    }
    for (const [path, body] of Object.entries(bodies)) {
      const posted = body === undefined ? undefined : await tenant.call('POST', path, body)
      const got = await tenant.call('GET', path)
      for (const [method, answer] of [
        ['post', posted],
        ['get', got],
      ] as const) {
        if (answer === undefined) continue
        const route = routes.find((one) => one.path === path && one.method === method)
        const schema = route?.answers[answer.status]?.schema
        expect(schema, `${method} ${path} ${answer.status}`).toBeDefined()
        expect(schema?.safeParse(answer.body).error).toBeUndefined()
      }
    }
  })
})

describe('/docs', () => {
  it('is a page that loads everything from here, and may load nothing from elsewhere', async () => {
    const page = await app.send('GET', '/docs')
    expect(page.status).toBe(200)
    expect(page.headers.get('content-type')).toMatch(/^text\/html/)
    const policy = page.headers.get('content-security-policy')
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("script-src 'self';")
    expect(page.text).not.toMatch(/https?:|<script>|onload=/)
    const loaded = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, at]) => at ?? '')
    expect(loaded.length).toBeGreaterThan(3)
    for (const at of loaded) {
      const asset = await app.send('GET', at)
      expect([at, asset.status]).toEqual([at, 200])
      expect(asset.headers.get('x-content-type-options')).toBe('nosniff')
    }
  })

  it.each(['/docs/package.json', '/docs/index.html', '/docs/..%2fpackage.json', '/docs/%2e%2e/x'])(
    '%s is not served',
    async (path) => {
      expect((await app.send('GET', path)).status).toBe(404)
    },
  )
})
