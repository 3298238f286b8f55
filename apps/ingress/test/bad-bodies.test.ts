import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'
import { expectIssues } from './expect-issues.ts'

const HOOK = 'https://example.com/'
const DESTINATIONS = '/api/v1/destinations'

let app: ApiTestApp
let tenant: Tenant

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant()
})
afterAll(() => app.close())

const raw = (rawBody: string | Uint8Array<ArrayBuffer>, contentType = 'application/json') =>
  app.send('POST', DESTINATIONS, {
    key: tenant.key,
    rawBody,
    headers: { 'content-type': contentType },
  })

describe('a body that is no JSON object', () => {
  it.each(['{', '{"url":"x",}', '1', '"x"', 'null', '{} {}', '{"url": NaN}', "{'url': 1}"])(
    '%s is 400',
    async (text) => {
      const answer = await raw(text)
      expect(answer.status).toBe(400)
      expect(answer.body).toEqual({ detail: expect.any(String) })
    },
  )

  it('bytes that are no UTF-8 are 400', async () => {
    const bytes = new Uint8Array([...Buffer.from('{"name":"'), 0xff, ...Buffer.from('"}')])
    expect((await raw(bytes)).status).toBe(400)
  })

  it('none at all is 400', async () => {
    const answer = await tenant.call('POST', DESTINATIONS)
    expect([answer.status, answer.body]).toEqual([400, { detail: 'A JSON body is required' }])
  })

  it('a list is 422', async () => {
    expectIssues(await raw('[]'))
  })

  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/vnd.api+json',
    'application/json; charset=latin1',
    'application/json; charset=bogus',
  ])('%s is 415', async (contentType) => {
    expect((await raw('{"url":"https://example.com/"}', contentType)).status).toBe(415)
  })

  it('a compressed one is 415, whatever it would become', async () => {
    const bomb = gzipSync(Buffer.alloc(10_000_000, 0x20))
    const answer = await app.send('POST', DESTINATIONS, {
      key: tenant.key,
      rawBody: new Uint8Array(bomb),
      headers: { 'content-encoding': 'gzip' },
    })
    expect(answer.status).toBe(415)
  })

  it('one above 256 KiB is 413', async () => {
    expect((await raw(`{"name":"${'x'.repeat(263_000)}"}`)).status).toBe(413)
  })

  it('one that nests deeper than 32 levels is 422, also with a hundred thousand of them', async () => {
    expectIssues(await raw(`{"retry":${'['.repeat(40)}${']'.repeat(40)}}`))
    expectIssues(await raw(`{"retry":${'['.repeat(100_000)}${']'.repeat(100_000)}}`))
    expectIssues(await raw(`${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}`))
  })

  it('one with more than a thousand items is 422', async () => {
    expectIssues(await raw(JSON.stringify({ event_types: Array(1001).fill('*') })))
  })

  it('no more than 20 findings come back', async () => {
    const fields = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`f${index}`, 1]))
    expectIssues(await tenant.call('POST', DESTINATIONS, { url: HOOK, ...fields }))
  })
})
