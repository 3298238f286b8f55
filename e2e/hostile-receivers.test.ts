import { readdirSync, readFileSync } from 'node:fs'
import { request as requestHttp } from 'node:http'
import type { Behaviour } from '@switchhook/testing/behaviour'
import { waitFor } from '@switchhook/testing/wait-for'
import { Agent, fetch, request } from 'undici'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import { createEvidence, type Evidence } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000
/** Of one attempt at a hostile destination that is to run into it; the others have plenty. */
const ATTEMPT_MS = 1_000
const AMPLE_MS = 5_000
/** How late a machine that stands still for a moment may be. */
const LATE_MS = 2_000
const MESSAGES = 5
/** How often the others are looked at meanwhile: a moment's standstill makes one of them slow. */
const LOOKS = 5
const MB = 1024 * 1024

let product: Product
let tenant: Tenant
let healthy: Line

beforeAll(async () => {
  product = await startProduct()
  tenant = await createTenant(product)
  healthy = await tenant.addLine({ path: '/healthy' })
})

afterAll(async () => {
  await product?.stop()
})

/** What the worker holds, as the kernel sees it. */
function holdings(): { rssBytes: number; sockets: number } {
  const { pid } = product.worker()
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const rssBytes = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024
  return { rssBytes, sockets: readdirSync(`/proc/${pid}/fd`).length }
}

async function waitUntilHealthy(): Promise<number> {
  const { eventId } = await createEvidence(product, tenant).send(healthy)
  const isIt = ({ headers }: { headers: Record<string, unknown> }) =>
    headers['webhook-id'] === eventId
  const sentAtMs = performance.now()
  await product.receiver.waitFor(isIt, { timeoutMs: TIMEOUT_MS })
  return performance.now() - sentAtMs
}

type Attempts = readonly (ApiDelivery['attempts'][number] & { response_time_ms: number })[]

async function attemptsAt(line: Line): Promise<readonly Attempts[]> {
  const items = await tenant.api.list<ApiDelivery>(
    `/api/v1/deliveries?destination=${line.destinationId}`,
  )
  const whole = items.map(({ id }) =>
    tenant.api.call<{ attempts: Attempts }>('GET', `/api/v1/deliveries/${id}`),
  )
  return (await Promise.all(whole)).map(({ attempts }) => attempts)
}

/** The bytes of an answer that a client without our limits reads, until it ends, breaks off or time is up; 100 MB do. */
async function readNaively(url: string, controlMs: number): Promise<number> {
  let bytes = 0
  try {
    // It unpacks, follows, and reads on.
    const signal = AbortSignal.timeout(controlMs)
    const answer = await fetch(url, { method: 'POST', body: '{}', signal })
    for await (const chunk of answer.body ?? []) {
      bytes += chunk.length
      if (bytes > 100 * MB) break
    }
  } catch {
    // What came before counts.
  }
  return bytes
}

/** Whether a client gets no answer at all, however patient. */
async function isUnanswered(url: string): Promise<boolean> {
  const answer = await fetch(url, { method: 'POST', body: '{}' }).catch(() => undefined)
  await answer?.body?.cancel()
  return answer === undefined
}

/** Whether a client with idle timeouts alone still waits when the control's time is up. */
async function isStillWaiting(url: string, controlMs: number): Promise<boolean> {
  const agent = new Agent({ headersTimeout: 60_000, bodyTimeout: LATE_MS })
  try {
    const signal = AbortSignal.timeout(controlMs)
    const { body } = await request(url, { method: 'POST', body: '{}', dispatcher: agent, signal })
    for await (const chunk of body) if (chunk.length === 0) break
    return false
  } catch (error) {
    return (error as Error).name === 'TimeoutError'
  } finally {
    await agent.destroy()
  }
}

/** The bytes of headers that a client with a larger limit takes; as many as that if they go on. */
function readHeaders(url: string): Promise<number> {
  const maxHeaderSize = 16 * MB
  return new Promise((resolve, reject) => {
    const asked = requestHttp(url, { method: 'POST', maxHeaderSize }, (answer) => {
      resolve(answer.rawHeaders.join('').length)
      answer.destroy()
    })
    asked.maxHeadersCount = 0
    asked.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'HPE_HEADER_OVERFLOW') resolve(maxHeaderSize)
      else reject(error)
    })
    asked.end('{}')
  })
}

type Case = {
  readonly name: string
  readonly behaviour: Behaviour
  readonly outcome: string
  /** True when the receiver really does what the name says to a client without our limits, who has so long. */
  readonly control: (url: string, controlMs: number) => Promise<boolean>
}

const MANY_HEADERS = `HTTP/1.1 200 OK\r\n${'x-some: header\r\n'.repeat(3_000)}content-length: 0\r\n\r\n`

const CASES: readonly Case[] = [
  {
    name: 'that never answers (D1)',
    behaviour: { kind: 'hang' },
    outcome: 'timed_out',
    control: isStillWaiting,
  },
  {
    name: 'that sends a byte of its body now and then (D2)',
    behaviour: { kind: 'trickle', chunkEveryMs: 100 },
    outcome: 'delivered',
    control: isStillWaiting,
  },
  {
    name: 'whose body never ends (D3)',
    behaviour: { kind: 'infinite' },
    outcome: 'delivered',
    control: async (url, controlMs) => (await readNaively(url, controlMs)) > 100 * MB,
  },
  {
    name: 'that announces 10 GB (D3)',
    behaviour: {
      kind: 'raw',
      bytes: `HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n${'x'.repeat(100_000)}`,
    },
    outcome: 'delivered',
    control: async (url, controlMs) => (await readNaively(url, controlMs)) >= 100_000,
  },
  {
    name: 'whose headers never end (D4)',
    behaviour: { kind: 'endless_headers' },
    outcome: 'refused',
    control: async (url) => (await readHeaders(url)) >= 16 * MB,
  },
  {
    name: 'with three thousand headers (D4)',
    behaviour: { kind: 'raw', bytes: MANY_HEADERS },
    outcome: 'refused',
    control: async (url) => (await readHeaders(url)) > 20_000,
  },
  {
    name: 'that sends early hints for ever (D4)',
    behaviour: { kind: 'early_hints', hintEveryMs: 20 },
    outcome: 'timed_out',
    control: isStillWaiting,
  },
  {
    name: 'whose megabyte unpacks to a gigabyte (D5)',
    behaviour: { kind: 'gzip_bomb' },
    outcome: 'delivered',
    control: async (url, controlMs) => (await readNaively(url, controlMs)) > 100 * MB,
  },
  {
    name: 'that resets the connection (D12)',
    behaviour: { kind: 'reset' },
    outcome: 'unreachable',
    control: isUnanswered,
  },
  {
    name: 'that speaks another protocol (D13)',
    behaviour: { kind: 'raw', bytes: 'SSH-2.0-OpenSSH_9.2\r\n' },
    outcome: 'refused',
    control: isUnanswered,
  },
]

describe('a destination', () => {
  test.each(CASES)(
    '$name hurts neither the worker nor the others',
    async (one) => {
      const path = `/hostile/${CASES.indexOf(one)}`
      const timeoutMs = one.outcome === 'timed_out' ? ATTEMPT_MS : AMPLE_MS
      const line = await tenant.addLine({ path, timeoutMs, maxAttempts: 2 })
      product.receiver.on(path, one.behaviour)
      await waitUntilHealthy()
      const before = holdings()
      const { pid } = product.worker()

      const evidence: Evidence = createEvidence(product, tenant)
      for (let sent = 0; sent < MESSAGES; sent += 1) await evidence.send(line)
      const othersMs: number[] = []
      let peakBytes = 0
      const isSettled = async () => {
        othersMs.push(await waitUntilHealthy())
        peakBytes = Math.max(peakBytes, holdings().rssBytes)
        const { rows } = await product.database.pool.query(
          `select count(*)::int as pending from deliveries where destination_id = $1 and state = 'pending'`,
          [line.destinationId],
        )
        return rows[0]?.pending === 0 && othersMs.length >= LOOKS
      }
      await waitFor(isSettled, { timeoutMs: TIMEOUT_MS, everyMs: 50, what: 'all to be settled' })

      const attempts = await attemptsAt(line)
      expect(attempts).toHaveLength(MESSAGES)
      for (const { outcome, response_time_ms: tookMs } of attempts.flat()) {
        expect(outcome).toBe(one.outcome)
        expect(tookMs).toBeLessThan(timeoutMs + LATE_MS)
      }
      expect(attempts.every(({ length }) => length === (one.outcome === 'delivered' ? 1 : 2))).toBe(
        true,
      )
      // Others go on as before, and nothing is left of it.
      othersMs.sort((a, b) => a - b)
      expect(othersMs[Math.floor(othersMs.length / 2)]).toBeLessThan(1_000)
      expect(othersMs.at(-1)).toBeLessThan(1_000 + LATE_MS)
      expect(peakBytes - before.rssBytes).toBeLessThan(64 * MB)
      await waitFor(() => holdings().sockets <= before.sockets + 2, {
        timeoutMs: TIMEOUT_MS,
        everyMs: 200,
        what: 'its sockets to be gone',
      })
      expect(product.worker().pid).toBe(pid)

      // It would still be at it when the last attempt had ended for certain.
      const controlMs = timeoutMs + LATE_MS + 500
      expect(await one.control(product.receiver.url + path, controlMs)).toBe(true)
    },
    180_000,
  )

  test('that closes a kept-alive connection under a request gets it again at once (D14)', async () => {
    const line = await tenant.addLine({ path: '/closes', maxAttempts: 3, delaysSeconds: [600] })
    const takes = { kind: 'answer', status: 200 } as const
    product.receiver.on('/closes', { kind: 'sequence', answers: [takes, { kind: 'close' }, takes] })
    const evidence = createEvidence(product, tenant)
    for (const expected of [['delivered'], ['unreachable', 'delivered']]) {
      const { eventId } = await evidence.send(line)
      await evidence.waitUntilSettled(TIMEOUT_MS)
      const { deliveries } = await tenant.api.call<{ deliveries: { id: string }[] }>(
        'GET',
        `/api/v1/events/${eventId}`,
      )
      const path = `/api/v1/deliveries/${deliveries[0]?.id}`
      const { attempts } = await tenant.api.call<ApiDelivery>('GET', path)
      expect(attempts.map(({ outcome }) => outcome)).toEqual(expected)
    }
    // Each request was an attempt, with its number and its row in the log.
    await evidence.check()
  }, 180_000)

  test('however hostile, held up the event loop of the worker for less than 200 ms', async () => {
    const p99 = await product.worker().metric('nodejs_eventloop_lag_p99_seconds')
    expect(p99).toBeLessThan(0.2)
  })
})
