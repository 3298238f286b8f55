import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { describe, expect, it } from 'vitest'
import { loadConfig, schema } from './config.ts'

const required = {
  DATABASE_URL: 'postgres://127.0.0.1/switchhook',
  REDIS_URL: 'redis://127.0.0.1',
  ENCRYPTION_KEYS: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
}
const example = readFileSync(new URL('../../../.env.example', import.meta.url), 'utf8')
const sections = new Map(
  example
    .split(/^# --- /m)
    .slice(1)
    .map((text) => [text.split(' ---', 1)[0], parseEnv(text.slice(text.indexOf('\n')))]),
)
const ours = { ...sections.get('ingress and worker'), ...sections.get('ingress') }

describe('.env.example', () => {
  it('has a line for each variable of the ingress, and for no other', () => {
    expect(Object.keys(ours).sort()).toEqual(Object.keys(schema.shape).sort())
  })

  it('shows the defaults that the ingress really has', () => {
    expect(loadConfig({ ...ours, ...required })).toEqual(loadConfig(required))
  })

  it('has a line for each variable that docker compose reads', () => {
    const compose = readFileSync(new URL('../../../docker-compose.yml', import.meta.url), 'utf8')
    const read = [...compose.matchAll(/\$\{([A-Z_]+)/g)].map(([, name]) => name)
    expect(Object.keys(parseEnv(example))).toEqual(expect.arrayContaining(read))
  })
})

describe('docker-compose.yml', () => {
  it('gives every variable of both processes to one of them', () => {
    const compose = readFileSync(new URL('../../../docker-compose.yml', import.meta.url), 'utf8')
    const given = [...compose.matchAll(/^ +([A-Z_]+): /gm)].map(([, name]) => name)
    const names = ['ingress and worker', 'ingress', 'worker'].flatMap((section) =>
      Object.keys(sections.get(section) ?? {}),
    )
    expect(given).toEqual(expect.arrayContaining(names))
  })
})

describe('loadConfig', () => {
  it('lists every bad variable at once, with the place to look', () => {
    expect(() => loadConfig({ INGRESS_PORT: '80800', INGRESS_SERVES: 'webhooks,tea' })).toThrow(
      /\.env\.example.*DATABASE_URL.*ENCRYPTION_KEYS.*INGRESS_PORT.*INGRESS_SERVES/s,
    )
  })

  it('takes the base without its slash: the provider signs base and path', () => {
    const config = loadConfig({ ...required, PUBLIC_BASE_URL: 'https://hooks.example.com/' })
    expect(config.PUBLIC_BASE_URL).toBe('https://hooks.example.com')
  })
})
