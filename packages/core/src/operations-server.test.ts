import { connect } from 'node:net'
import { Gauge, Registry } from 'prom-client'
import { afterEach, describe, expect, it } from 'vitest'
import { type OperationsOptions, startOperationsServer } from './operations-server.ts'

const running: { stop(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()))
})

async function start(options: Partial<OperationsOptions> = {}) {
  const server = await startOperationsServer({
    ...{ host: '127.0.0.1', port: 0, registry: new Registry(), checks: {} },
    ...options,
  })
  running.push(server)
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
      signal: AbortSignal.timeout(20_000),
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  }
  return { server, get }
}

const never = () => new Promise<never>(() => undefined)

describe('/readyz', () => {
  it('is 200 when every dependency answers', async () => {
    const { get } = await start({ checks: { postgres: async () => 1, redis: async () => 'PONG' } })
    const { status, headers, text } = await get('/readyz')
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('application/json')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(JSON.parse(text)).toEqual({
      status: 'ok',
      checks: { postgres: 'ok', redis: 'ok' },
    })
  })

  it('is 503 and names the dependency that is gone or frozen, without its error', async () => {
    const { get } = await start({
      checks: {
        postgres: async () => {
          throw new Error('password "hunter2" refused')
        },
        redis: never,
        snapshot: async () => undefined,
      },
    })
    const startedAtMs = performance.now()
    const { status, text } = await get('/readyz')
    expect(performance.now() - startedAtMs).toBeLessThan(10_000)
    expect(status).toBe(503)
    expect(JSON.parse(text)).toEqual({
      status: 'unready',
      checks: { postgres: 'no answer', redis: 'no answer', snapshot: 'ok' },
    })
  })

  it('is 503 once the process drains, though all is well', async () => {
    const { server, get } = await start({ checks: { postgres: async () => 1 } })
    server.startDraining()
    const { status, text } = await get('/readyz')
    expect(status).toBe(503)
    expect(JSON.parse(text)).toEqual({ status: 'draining', checks: { postgres: 'ok' } })
    expect((await get('/healthz')).status).toBe(200)
  })
})

describe('/healthz and /metrics', () => {
  it('answer while every dependency is frozen', async () => {
    const registry = new Registry()
    new Gauge({ name: 'switchhook_test', help: 'A test.', registers: [registry] }).set(7)
    const { get } = await start({ registry, checks: { postgres: never }, beforeScrape: never })
    const [health, metrics] = await Promise.all([get('/healthz'), get('/metrics')])
    expect(health).toMatchObject({ status: 200, text: '{"status":"ok"}' })
    expect(metrics.status).toBe(200)
    expect(metrics.headers.get('content-type')).toContain('text/plain')
    expect(metrics.text).toContain('switchhook_test 7')
  })

  it('bring gauges up to date before a scrape, and survive when that fails', async () => {
    const registry = new Registry()
    const gauge = new Gauge({ name: 'switchhook_test', help: 'A test.', registers: [registry] })
    let scrapes = 0
    const { get } = await start({
      registry,
      async beforeScrape() {
        scrapes += 1
        gauge.set(scrapes)
        if (scrapes > 1) throw new Error('Redis is away')
      },
    })
    expect((await get('/metrics')).text).toContain('switchhook_test 1')
    expect(await get('/metrics?x=1')).toMatchObject({ status: 200 })
  })
})

describe('the operations server', () => {
  it('answers 404 for anything else', async () => {
    const { get } = await start()
    expect(await get('/')).toMatchObject({ status: 404, text: '{"detail":"Not Found"}' })
    expect((await get('/metrics/../readyz/x')).status).toBe(404)
  })

  it('says so when its port is taken', async () => {
    const { server } = await start()
    await expect(start({ port: server.port })).rejects.toThrow('EADDRINUSE')
  })

  it('stops although a client holds a connection open', async () => {
    const { server } = await start()
    const socket = connect(server.port, '127.0.0.1')
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => undefined)
    await new Promise((resolve) => socket.once('connect', resolve))
    socket.write('GET /healthz HTTP/1.1\r\n')
    await server.stop()
    await closed
    await expect(start({ port: server.port })).resolves.toBeDefined()
  })
})
