import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTelnyxRest, type TelnyxRest } from './telnyx-rest.ts'

let telnyx: TelnyxRest

beforeAll(async () => {
  telnyx = await startTelnyxRest({ apiKey: 'KEY1' })
})
afterAll(() => telnyx.stop())

async function send(method: string, path: string, json?: unknown, key = 'KEY1') {
  const response = await fetch(telnyx.baseUrl + path, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
    signal: AbortSignal.timeout(5_000),
  })
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever came
  const body: any = await response.json()
  return { status: response.status, body }
}

describe("the stand-in for Telnyx's REST API", () => {
  it('finds a number and moves it to a profile and an application', async () => {
    const { id } = telnyx.addNumber('+14155550001')
    const found = await send('GET', '/phone_numbers?filter[phone_number]=%2B14155550001')
    expect(found.body.data).toEqual([
      expect.objectContaining({ id, record_type: 'phone_number', connection_id: null }),
    ])
    expect(found.body.meta).toMatchObject({ page_number: 1, total_pages: 1, total_results: 1 })
    const profile = await send('POST', '/messaging_profiles', {
      ...{ name: 'P', whitelisted_destinations: ['US'], webhook_url: 'https://a.example/' },
    })
    const { id: messaging_profile_id } = profile.body.data
    await send('PATCH', `/phone_numbers/${id}/messaging`, { messaging_profile_id })
    expect(telnyx.smsGoesTo('+14155550001')).toBe('https://a.example/')
    const members = await send('GET', `/messaging_profiles/${messaging_profile_id}/phone_numbers`)
    expect(members.body.data).toHaveLength(1)
    await send('PATCH', `/phone_numbers/${id}/messaging`, { messaging_profile_id: '' })
    expect(telnyx.smsGoesTo('+14155550001')).toBeNull()
    const application = telnyx.addApplication()
    await send('PATCH', `/phone_numbers/${id}`, { connection_id: application.id })
    expect(telnyx.voiceGoesTo('+14155550001')).toBe(application.webhook_event_url)
  })

  it('wants the name and the URL with every change of an application', async () => {
    const { id } = telnyx.addApplication()
    const path = `/call_control_applications/${id}`
    const refused = await send('PATCH', path, { webhook_event_url: 'https://a.example/' })
    expect(refused).toEqual({
      status: 422,
      body: {
        errors: [
          {
            ...{ code: '10015', title: 'Invalid value', detail: 'Invalid value.' },
            source: { pointer: '/application_name' },
          },
        ],
      },
    })
    const body = { application_name: 'A', webhook_event_url: 'https://a.example/' }
    expect((await send('PATCH', path, body)).body.data).toMatchObject({ id, ...body })
    expect((await send('DELETE', path)).status).toBe(200)
    expect((await send('GET', path)).status).toBe(404)
  })

  it('knows who may ask, and what there is to move to', async () => {
    expect((await send('GET', '/phone_numbers', undefined, 'KEY2')).status).toBe(401)
    const { id } = telnyx.addNumber('+14155550002')
    const unknown = { messaging_profile_id: 'nothing' }
    expect((await send('PATCH', `/phone_numbers/${id}/messaging`, unknown)).status).toBe(422)
    telnyx.fail({ method: 'GET' }, 'cut')
    await expect(send('GET', '/phone_numbers')).rejects.toThrow()
    expect(telnyx.calls.at(-1)).toMatchObject({ path: '/v2/phone_numbers', status: undefined })
  })
})
