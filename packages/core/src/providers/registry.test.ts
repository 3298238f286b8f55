import { describe, expect, it } from 'vitest'
import { PROVIDERS } from '../event.ts'
import { adapterOf, WEBHOOK_PROVIDERS } from './registry.ts'

describe('the registry', () => {
  it('has an adapter for every provider, by its own name', () => {
    for (const name of PROVIDERS) expect(adapterOf(name).name).toBe(name)
  })

  it('has every provider that calls us', () => {
    const names = WEBHOOK_PROVIDERS.map(({ name }) => name)
    expect([...names, 'platform'].sort()).toEqual([...PROVIDERS].sort())
  })

  it('gives no route to two providers', () => {
    const routes = WEBHOOK_PROVIDERS.flatMap((provider) =>
      provider.routes.map(({ method, path }) => `${method} ${path}`),
    )
    expect(new Set(routes).size).toBe(routes.length)
    expect(routes).toContain('post /twilio-sms-webhook')
    expect(routes).toContain('get /recording-status')
    expect(routes).toContain('post /telnyx-webhook/{token}')
    expect(routes).toContain('get /webhooks/kudosity-v1/{token}')
    expect(routes).toContain('post /webhooks/pbx/{token}')
  })

  it('answers probes on every path of Telnyx, and on nobody else’s', () => {
    for (const { name, probes, routes } of WEBHOOK_PROVIDERS) {
      expect(probes).toEqual(name === 'telnyx' ? routes.map(({ path }) => path) : [])
    }
  })
})
