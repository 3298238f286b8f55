import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { describe, expect, it } from 'vitest'
import { loadConfig, schema } from './config.ts'

const required = {
  DATABASE_URL: 'postgres://127.0.0.1/switchhook',
  REDIS_URL: 'redis://127.0.0.1',
  ENCRYPTION_KEYS: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
  SMTP_URL: 'smtp://127.0.0.1:1025',
}
const sections = new Map(
  readFileSync(new URL('../../../.env.example', import.meta.url), 'utf8')
    .split(/^# --- /m)
    .slice(1)
    .map((text) => [text.split(' ---', 1)[0], parseEnv(text.slice(text.indexOf('\n')))]),
)
const ours = { ...sections.get('ingress and worker'), ...sections.get('worker') }

describe('.env.example', () => {
  it('has a line for each variable of the worker, and for no other', () => {
    expect(Object.keys(ours).sort()).toEqual(Object.keys(schema.shape).sort())
  })

  it('shows the defaults that the worker really has', () => {
    expect(loadConfig({ ...ours, ...required })).toEqual(loadConfig(required))
  })
})

describe('loadConfig', () => {
  it('lists every bad variable at once, with the place to look', () => {
    expect(() => loadConfig({ SMTP_URL: 'https://mail.example.com', WORKER_LOCK_MS: '5' })).toThrow(
      /\.env\.example.*DATABASE_URL.*ENCRYPTION_KEYS.*WORKER_LOCK_MS.*SMTP_URL/s,
    )
  })

  it('takes an empty variable for an unset one, as compose leaves it', () => {
    expect(loadConfig({ ...required, WORKER_CONCURRENCY: '' }).WORKER_CONCURRENCY).toBe(400)
  })
})
