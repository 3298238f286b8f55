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

describe('destinations that URLs imply', () => {
  const byKind = (items: { implied_by: string }[], kind: string) =>
    items.filter((item) => item.implied_by === kind)

  it("an assistant's two URLs are two burki destinations, messages apart from voice", async () => {
    const assistant = await tenant.create('/api/v1/assistants', {
      name: 'Front desk',
      webhook_url: 'https://voice.example.com/',
      sms_webhook_url: 'https://sms.example.com/',
      webhook_fallback_email: 'ops@example.com',
    })
    const scope = {
      organizationId: tenant.id,
      assistantId: assistant.id,
      phoneNumber: null,
    }
    const known = app.deps.snapshot.destinationsInScope(scope)
    expect(known.map(({ url }) => url).sort()).toEqual([
      'https://sms.example.com/',
      'https://voice.example.com/',
    ])
    const items = await destinationsOf()
    expect(byKind(items, 'assistant_sms')).toMatchObject([
      {
        name: 'Front desk (messages)',
        url: 'https://sms.example.com/',
        format: 'burki',
        event_types: ['sms_received', 'mms_received'],
        assistant_id: assistant.id,
        phone_number: null,
        success_rule: '2xx',
        fallback_email: 'ops@example.com',
      },
    ])
    const [voice] = byKind(items, 'assistant_voice') as unknown as { event_types: string[] }[]
    expect(voice).toMatchObject({ format: 'burki', fallback_email: 'ops@example.com' })
    expect(voice?.event_types).toContain('call_ended')
    expect(voice?.event_types).not.toContain('sms_received')
  })

  it("they follow the assistant's changes and keep what was set on themselves", async () => {
    const [assistant] = (await tenant.call('GET', '/api/v1/assistants')).body.items
    const path = `/api/v1/assistants/${assistant.id}`
    const [before] = byKind(await destinationsOf(), 'assistant_sms') as unknown as { id: string }[]
    const set = { max_concurrency: 5, fallback_email: 'mine@example.com', event_types: ['*'] }
    expect((await tenant.call('PATCH', `/api/v1/destinations/${before?.id}`, set)).status).toBe(200)
    await tenant.call('PATCH', path, {
      sms_webhook_url: 'https://sms2.example.com/',
      name: 'Renamed',
    })
    expect(byKind(await destinationsOf(), 'assistant_sms')).toMatchObject([
      { id: before?.id, url: 'https://sms2.example.com/', ...set },
    ])
    await tenant.call('PATCH', path, { webhook_fallback_email: null })
    const now = await destinationsOf()
    expect(now.map((item: { fallback_email: string }) => item.fallback_email)).toEqual([null, null])
  })

  it('clearing the URL deletes its destination; setting it again makes another', async () => {
    const [assistant] = (await tenant.call('GET', '/api/v1/assistants')).body.items
    const path = `/api/v1/assistants/${assistant.id}`
    const [before] = byKind(await destinationsOf(), 'assistant_voice') as unknown as {
      id: string
    }[]
    await tenant.call('PATCH', path, { webhook_url: null })
    expect(byKind(await destinationsOf(), 'assistant_voice')).toEqual([])
    expect(app.deps.snapshot.findDestination(before?.id ?? '')).toBeUndefined()
    await tenant.call('PATCH', path, { webhook_url: 'https://voice.example.com/' })
    expect(byKind(await destinationsOf(), 'assistant_voice')).toHaveLength(1)
  })

  it("a number's URL is a pbx destination of that number, with its mail fallback", async () => {
    const number = await tenant.create('/api/v1/phone-numbers', {
      phone_number: '+61400000002',
      provider: 'twilio',
      service_id: '12345',
      webhook_url: 'https://pbx.example.com/hook',
      webhook_url_fallback: 'night@example.com',
    })
    expect(number).toMatchObject({
      id: expect.any(Number),
      assistant_id: null,
      service_id: '12345',
    })
    expect(byKind(await destinationsOf(), 'phone_number')).toMatchObject([
      {
        url: 'https://pbx.example.com/hook',
        format: 'pbx',
        event_types: ['sms_received', 'mms_received'],
        assistant_id: null,
        phone_number: '+61400000002',
        success_rule: 'exact_200',
        fallback_email: 'night@example.com',
      },
    ])
    const again = await tenant.call('POST', '/api/v1/phone-numbers', {
      phone_number: '+61400000002',
      provider: 'twilio',
    })
    expect(again.status).toBe(409)
  })

  it('their URL and scope are changed where they come from: elsewhere it is a conflict with a hint', async () => {
    for (const { id, url, assistant_id } of await destinationsOf()) {
      const path = `/api/v1/destinations/${id}`
      const refused = await tenant.call('PATCH', path, { url: 'https://elsewhere.example.com/' })
      expect(refused.status).toBe(409)
      expect(refused.body.detail).toMatch(/webhook_url of its (assistant|phone number)/)
      expect((await tenant.call('DELETE', path)).status).toBe(409)
      const moved =
        assistant_id === null
          ? { phone_number: null }
          : { assistant_id: null, phone_number: '+61400000009' }
      expect((await tenant.call('PATCH', path, moved)).status).toBe(409)
      expect((await tenant.call('PATCH', path, { url, status: 'active' })).status).toBe(200)
    }
  })

  it('their secret is told by a rotation', async () => {
    const [destination] = await destinationsOf()
    const path = `/api/v1/destinations/${destination.id}/rotate-secret`
    expect((await tenant.call('POST', path)).body.secret).toMatch(/^whsec_/)
  })

  it('deleting the number or the assistant deletes them; the numbers of an assistant stay', async () => {
    const [assistant] = (await tenant.call('GET', '/api/v1/assistants')).body.items
    const [number] = (await tenant.call('GET', '/api/v1/phone-numbers')).body.items
    const path = `/api/v1/phone-numbers/${number.id}`
    await tenant.call('PATCH', path, { assistant_id: assistant.id })
    await tenant.create('/api/v1/destinations', { url: HOOK, assistant_id: assistant.id })
    expect((await tenant.call('DELETE', `/api/v1/assistants/${assistant.id}`)).status).toBe(204)
    expect((await tenant.call('DELETE', `/api/v1/assistants/${assistant.id}`)).status).toBe(404)
    expect((await tenant.call('GET', path)).body.assistant_id).toBeNull()
    expect((await destinationsOf()).map((item: { url: string }) => item.url)).toEqual([
      'https://pbx.example.com/hook',
    ])
    expect((await tenant.call('DELETE', path)).status).toBe(204)
    expect(await destinationsOf()).toEqual([])
    expect((await tenant.call('GET', path)).status).toBe(404)
  })

  it('a deleted number can be registered again', async () => {
    const number = await tenant.create('/api/v1/phone-numbers', {
      phone_number: '+61400000002',
      provider: 'twilio',
      webhook_url: 'https://pbx.example.com/again',
    })
    expect(app.deps.snapshot.findPhoneNumber(tenant.id, '+61400000002')?.id).toBe(number.id)
    expect(await destinationsOf()).toHaveLength(1)
  })
})
