import { randomBytes } from 'node:crypto'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { signReplayToken } from '@switchhook/core/delivery/replay-token'
import { deliveryId, randomId } from '@switchhook/core/ids'
import { silentLogger } from '@switchhook/core/log'
import { parseKeyRing } from '@switchhook/core/secrets'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import { listDigest, settleDigest } from '@switchhook/core/store/mail-digest-lines'
import { claimMailSlot, takeDigest } from '@switchhook/core/store/mail-digests'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createApp } from '../src/app.ts'
import { closeServer, listen } from '../src/http-server.ts'
import { createReplayLinkRouter } from '../src/replay-link.ts'
import { eraseMeanwhile } from './erase-meanwhile.ts'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'
import { type Stored, store } from './stored-rows.ts'

const DAY_MS = 86_400_000
const NUMBER = '+14155550123'
const ring = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)

let app: ReadSideApp
let tenant: Tenant
let server: Server
const enqueued: DeliveryJob[] = []

async function serve(database: DatabaseHandle): Promise<Server> {
  const router = createReplayLinkRouter({
    ...{ nowMs: Date.now, database, ring, log: silentLogger },
    enqueueDelivery: async (job) => void enqueued.push(job),
  })
  const links = createApp({
    ...{ routers: [router], trustedProxies: [], isDraining: () => false, log: silentLogger },
  })
  return await listen(links, '127.0.0.1', 0)
}

beforeAll(async () => {
  app = await startReadSideApp()
  tenant = await app.addTenant(NUMBER)
  server = await serve(app.database)
})
beforeEach(() => enqueued.splice(0))
afterAll(async () => {
  await closeServer(server, 1_000)
  await app.close()
})

async function ask(method: string, token: string, from = server) {
  const { port } = from.address() as AddressInfo
  const response = await fetch(`http://127.0.0.1:${port}/replay/${token}`, {
    method,
    signal: AbortSignal.timeout(25_000),
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

const tokenOf = (subject: string, livesMs = 7 * DAY_MS): string =>
  signReplayToken(ring, subject, Date.now() + livesMs)

const emailed = (): Promise<Stored> => store(app, tenant, { delivery: { state: 'emailed' } })

async function deliveriesOf(eventId: string) {
  const { rows } = await app.database.pool.query(
    'select id, state, replay_of, destination_id from deliveries where event_id = $1 order by created_at, id',
    [eventId],
  )
  return rows
}

/** Deliveries that share a digest, which went out. */
async function digestOf(count: number): Promise<{ id: string; stored: Stored[] }> {
  const { pool } = app.database
  const stored: Stored[] = []
  let id = ''
  await pool.query('truncate mail_windows')
  for (let index = 0; index < count; index += 1) {
    const one = await store(app, tenant, {
      delivery: { state: 'pending', fallbackAtMs: Date.now() },
    })
    stored.push(one)
    const slot = await claimMailSlot(
      pool,
      {
        ...{ deliveryId: one.deliveryId, createdAtMs: one.event.receivedAtMs },
        ...{ organizationId: tenant.organizationId, destinationId: tenant.destinationId },
        recipient: 'desk@customer.example',
      },
      { windowMs: 60_000, maxSingles: 0 },
    )
    if (slot.kind === 'digest') id = slot.digestId
  }
  await pool.query(`update mail_digests set next_try_at = now() - interval '1 ms' where id = $1`, [
    id,
  ])
  await takeDigest(pool, id, 1_000)
  await listDigest(pool, id)
  await settleDigest(pool, id, 'emailed')
  return { id, stored }
}

describe('the link in a mail', () => {
  it('shows what it would send again, and sends nothing, however often it is looked at', async () => {
    const { event, deliveryId } = await emailed()
    const token = tokenOf(deliveryId)
    for (const method of ['GET', 'HEAD', 'GET']) expect((await ask(method, token)).status).toBe(200)
    const { text } = await ask('GET', token)
    expect(text).toContain('Nothing has been sent yet.')
    expect(text).toContain('ending in 0123')
    expect(text).toContain('sms_received')
    expect(enqueued).toEqual([])
    expect(await deliveriesOf(event.id)).toHaveLength(1)
  })

  it('sends it again at the press of its button: a new delivery of the same event', async () => {
    const { event, deliveryId } = await emailed()
    const { status, text } = await ask('POST', tokenOf(deliveryId))
    expect(status).toBe(200)
    expect(text).toContain('1 delivery is on its way')
    const [first, second] = await deliveriesOf(event.id)
    expect(first).toMatchObject({ id: deliveryId, state: 'emailed' })
    expect(second).toMatchObject({ state: 'pending', replay_of: deliveryId })
    expect(enqueued).toMatchObject([
      {
        ...{ deliveryId: second.id, destinationId: tenant.destinationId, requeued: true },
        event: { id: event.id },
      },
    ])
    const { rows } = await app.database.pool.query(
      'select event_type, api_key_id, details from audit_logs where resource_id = $1',
      [deliveryId],
    )
    expect(rows).toEqual([
      {
        ...{ event_type: 'delivery.replayed', api_key_id: null },
        details: { through: 'the link of a mail', deliveries: 1 },
      },
    ])
  })

  it('works once, also for two that press at the same time, and of two mails', async () => {
    const { event, deliveryId } = await emailed()
    const first = tokenOf(deliveryId)
    const presses = [first, tokenOf(deliveryId), tokenOf(deliveryId, DAY_MS)]
    const answers = await Promise.all(presses.map((token) => ask('POST', token)))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 410, 410])
    expect(await deliveriesOf(event.id)).toHaveLength(2)
    const { status, text } = await ask('GET', first)
    expect(status).toBe(410)
    expect(text).toContain('This link was used already')
  })

  it('that is not ours, or over, asks nothing of the database', async () => {
    const { deliveryId } = await emailed()
    const other = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)
    const forged = signReplayToken(other, deliveryId, Date.now() + DAY_MS)
    const refusing = { db: undefined, pool: undefined } as unknown as DatabaseHandle
    const blind = await serve(refusing)
    for (const method of ['GET', 'POST']) {
      expect((await ask(method, forged, blind)).status).toBe(404)
      expect((await ask(method, 'nonsense', blind)).status).toBe(404)
      expect((await ask(method, tokenOf(deliveryId, -1), blind)).status).toBe(410)
    }
    await closeServer(blind, 1_000)
    expect(enqueued).toEqual([])
  })

  it('waits for a delivery that is still pending', async () => {
    const { event, deliveryId } = await store(app, tenant, { attempts: [] })
    expect((await ask('POST', tokenOf(deliveryId))).status).toBe(409)
    expect(await deliveriesOf(event.id)).toHaveLength(1)
  })

  it('says when there is nothing left to send, or nobody to send it to, and stays good', async () => {
    const gone = deliveryId(randomId('evt_'), tenant.destinationId)
    expect((await ask('POST', tokenOf(gone))).text).toContain('no longer kept')
    const kept = await emailed()
    const { pool } = app.database
    const set = (column: string, value: string) =>
      pool.query(`update destinations set ${column} = ${value} where id = $1`, [
        tenant.destinationId,
      ])
    await set('status', "'disabled'")
    const token = tokenOf(kept.deliveryId)
    expect(await ask('POST', token)).toMatchObject({ status: 409 })
    await set('deleted_at', 'now()')
    expect((await ask('POST', token)).text).toContain('The destination was deleted.')
    await set('deleted_at', 'null')
    await set('status', "'paused'")
    expect((await ask('GET', token)).text).toContain('The destination is paused')
    expect((await ask('POST', token)).text).toContain('when the destination is resumed')
    await set('status', "'active'")
    await pool.query(`update events set erased_at = now() where id = $1`, [kept.event.id])
    await pool.query('truncate used_replay_links')
    expect((await ask('POST', token)).text).toContain('no longer kept')
  })

  it('makes nothing and is not used up when an erasure takes the payload meanwhile', async () => {
    const { event, deliveryId } = await emailed()
    const press = () => ask('POST', tokenOf(deliveryId))
    const { status, text } = await eraseMeanwhile(app.database, event.id, press)
    expect([status, text]).toEqual([409, expect.stringContaining('no longer kept')])
    expect(await deliveriesOf(event.id)).toHaveLength(1)
    expect(enqueued).toEqual([])
  })

  it('answers 503 while the database is away, and works afterwards', async () => {
    const { deliveryId } = await emailed()
    const token = tokenOf(deliveryId)
    const away = () => {
      throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    }
    const cut = await serve({ db: { selectFrom: away }, pool: {} } as unknown as DatabaseHandle)
    const answer = await ask('POST', token, cut)
    expect(answer.status).toBe(503)
    expect(answer.headers.get('retry-after')).toBe('5')
    expect(answer.text).toContain('Nothing was sent')
    await closeServer(cut, 1_000)
    expect((await ask('POST', token)).status).toBe(200)
  })
})

describe('the link of a digest', () => {
  it('sends again what the digest listed, each as its own new delivery, once', async () => {
    const { id, stored } = await digestOf(45)
    const token = tokenOf(id)
    const shown = await ask('GET', token)
    expect(shown.text).toContain('Send 45 deliveries again?')
    expect(enqueued).toEqual([])
    const done = await ask('POST', token)
    expect(done.text).toContain('45 deliveries are on their way')
    expect(new Set(enqueued.map(({ event }) => event.id))).toEqual(
      new Set(stored.map(({ event }) => event.id)),
    )
    for (const { event, deliveryId } of stored.slice(0, 3)) {
      expect((await deliveriesOf(event.id)).map(({ replay_of }) => replay_of).sort()).toEqual(
        [deliveryId, null].sort(),
      )
    }
    expect((await ask('POST', token)).status).toBe(410)
    expect(enqueued).toHaveLength(45)
  })
})

describe('the page', () => {
  it('runs no script, loads nothing, is in no frame, and tells nobody its address', async () => {
    const { deliveryId } = await emailed()
    const { headers, text } = await ask('GET', tokenOf(deliveryId))
    const policy = headers.get('content-security-policy') ?? ''
    expect(policy).toMatch(
      /^default-src 'none'; style-src 'sha256-[\w+/]{43}='; form-action 'self'/,
    )
    expect(policy).toContain("frame-ancestors 'none'")
    expect(headers.get('referrer-policy')).toBe('no-referrer')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(text).not.toMatch(/<script|src=|href=/)
  })

  it('holds no whole number, no payload, no secret, and no tag of a name', async () => {
    const { deliveryId } = await emailed()
    const { pool } = app.database
    const name = '<img src=x onerror=alert(1)>'
    await pool.query('update destinations set name = $2 where id = $1', [
      tenant.destinationId,
      name,
    ])
    const { text } = await ask('GET', tokenOf(deliveryId))
    expect(text).toContain('&lt;img src=x onerror=alert(1)&gt;')
    expect(text).not.toContain('<img')
    for (const secret of [NUMBER, NUMBER.slice(1), '4155559999', 'hello', tenant.organizationId]) {
      expect(text).not.toContain(secret)
    }
  })

  it('has no other method', async () => {
    for (const method of ['PUT', 'DELETE', 'PATCH']) {
      const { status, headers } = await ask(method, 'x')
      expect([status, headers.get('allow')]).toEqual([405, 'GET, HEAD, POST'])
    }
  })
})
