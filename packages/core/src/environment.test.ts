import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { environment, parseEnvironment, sharedEnvironment } from './environment.ts'

const schema = z.object({ ...sharedEnvironment, INGRESS_PORT: environment.port(8080) })
const good = {
  DATABASE_URL: 'postgres://user:pass@db.example/switchhook',
  REDIS_URL: 'redis://127.0.0.1:6379',
  ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
}

function errorOf(env: Record<string, string | undefined>): string {
  try {
    parseEnvironment(schema, env)
  } catch (error) {
    return (error as Error).message
  }
  return 'nothing was thrown'
}

describe('the environment', () => {
  it('needs the two stores and the keys, and has a default for the rest', () => {
    const parsed = parseEnvironment(schema, good)
    expect(parsed).toMatchObject({
      DESTINATION_ALLOW_HTTP: false,
      DESTINATION_ALLOWED_CIDRS: [],
      REDIS_CLUSTER_NODES: [],
      QUEUE_SHARDS: 1,
      INGRESS_PORT: 8080,
      LOG_LEVEL: 'info',
    })
    expect(parsed.ENCRYPTION_KEYS.firstKeyId).toBe('k1')
    for (const name of Object.keys(good)) {
      expect(errorOf({ ...good, [name]: undefined })).toContain(`\n  ${name}: `)
    }
  })

  it('lists every bad variable at once, each on a line of its own', () => {
    const message = errorOf({
      DATABASE_URL: 'mysql://db/x',
      REDIS_URL: 'not a url',
      ENCRYPTION_KEYS: 'k1:c2hvcnQ=',
      DESTINATION_ALLOW_HTTP: 'yes',
      QUEUE_SHARDS: '0',
      INGRESS_PORT: '65536',
      SHUTDOWN_TIMEOUT_MS: '1.5',
      LOG_LEVEL: 'loud',
    })
    const [head, ...lines] = message.split('\n')
    expect(head).toContain('.env.example')
    expect(lines.map((line) => line.trim().split(':')[0]).sort()).toEqual(
      [
        'DATABASE_URL',
        'DESTINATION_ALLOW_HTTP',
        'ENCRYPTION_KEYS',
        'INGRESS_PORT',
        'LOG_LEVEL',
        'QUEUE_SHARDS',
        'REDIS_URL',
        'SHUTDOWN_TIMEOUT_MS',
      ].sort(),
    )
  })

  it('repeats no value in its error: a URL may hold a password', () => {
    const message = errorOf({
      DATABASE_URL: 'mysql://user:hunter2@db/x',
      REDIS_URL: 'hunter2',
      ENCRYPTION_KEYS: 'k1:hunter2',
      INGRESS_PORT: 'hunter2',
      LOG_LEVEL: 'hunter2',
    })
    expect(message).not.toContain('hunter2')
    expect(message.split('\n')).toHaveLength(6)
  })

  it('takes an empty variable for one that is not set', () => {
    expect(parseEnvironment(schema, { ...good, QUEUE_SHARDS: '', LOG_LEVEL: '' })).toMatchObject({
      QUEUE_SHARDS: 1,
      LOG_LEVEL: 'info',
    })
    expect(errorOf({ ...good, REDIS_URL: '' })).toContain('REDIS_URL')
  })

  it('reads "false" as false', () => {
    const read = (text: string) =>
      parseEnvironment(schema, { ...good, DESTINATION_ALLOW_HTTP: text }).DESTINATION_ALLOW_HTTP
    expect(read('false')).toBe(false)
    expect(read('true')).toBe(true)
  })

  it('splits lists at commas and drops what is empty', () => {
    const DESTINATION_ALLOWED_CIDRS = ' 10.0.0.0/8, ,127.0.0.1/32,'
    expect(
      parseEnvironment(schema, { ...good, DESTINATION_ALLOWED_CIDRS }).DESTINATION_ALLOWED_CIDRS,
    ).toEqual(['10.0.0.0/8', '127.0.0.1/32'])
  })

  it('admits port 0, any free one, and TLS to both stores', () => {
    const env = { ...good, INGRESS_PORT: '0', REDIS_URL: 'rediss://redis.example' }
    expect(parseEnvironment(schema, env).INGRESS_PORT).toBe(0)
    expect(errorOf({ ...good, DATABASE_URL: 'postgresql://db/x' })).toBe('nothing was thrown')
  })
})
