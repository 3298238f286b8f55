import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request } from 'undici'
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest'
import { readLedgerFile } from './ledger.ts'
import { type RunningProcess, spawnNode } from './processes.ts'

// Each starts Node.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const TIMEOUT_MS = 30_000
const directory = mkdtempSync(join(tmpdir(), 'switchhook-receiver-main-'))
const ledgerFile = join(directory, 'ledger.jsonl')
afterAll(() => rmSync(directory, { recursive: true, force: true }))

let receiver: RunningProcess
let url: string

beforeEach(async () => {
  rmSync(ledgerFile, { force: true })
  receiver = await spawnNode({
    entry: new URL('./receiver.main.ts', import.meta.url),
    env: { LEDGER_FILE: ledgerFile },
    name: 'receiver',
  })
  url = JSON.parse(await receiver.waitForLine(/"url"/, TIMEOUT_MS)).url
})
afterEach(() => receiver[Symbol.asyncDispose]())

async function post(path: string, body: string): Promise<void> {
  const headers = { 'webhook-id': `evt_${body.length}`, 'x-evil': '<i>' }
  const { statusCode } = await request(url + path, { method: 'POST', body, headers })
  expect(statusCode).toBe(200)
}

async function get(path: string) {
  const { headers, body } = await request(url + path)
  return { headers, text: await body.text() }
}

test('shows what it received as JSON, newest first, and counts it', async () => {
  await post('/a', 'one')
  await post('/b', 'x'.repeat(20_000))
  expect(JSON.parse((await get('/__count')).text)).toEqual({ count: 2 })
  const all = JSON.parse((await get('/__received')).text)
  expect(all).toMatchObject([{ path: '/b' }, { path: '/a', method: 'POST', body: 'one' }])
  expect(all[0].body).toHaveLength(10 * 1024)
  expect(all[1].headers['webhook-id']).toBe('evt_3')
  expect(JSON.parse((await get('/__received?limit=1')).text)).toHaveLength(1)
  expect(readLedgerFile(ledgerFile).map((entry) => entry.id)).toEqual(['evt_3', 'evt_20000'])
  await receiver.waitForLine(/^POST \/b webhook-id=evt_20000 20000 bytes$/, TIMEOUT_MS)
})

test('its page escapes all it shows and may run nothing', async () => {
  await post('/<script>alert(1)</script>', '"><img src=x onerror=alert(1)>')
  const { headers, text } = await get('/')
  expect(text).toContain('1 request received')
  expect(text).not.toMatch(/<script|<img|<i>/)
  expect(text).toContain('&quot;&gt;&lt;img src=x')
  expect(headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'sha256-/)
  expect(headers['x-content-type-options']).toBe('nosniff')
  expect(headers.refresh).toBe('5')
})

test('odd paths do not end it, and a GET of another path is a request like others', async () => {
  expect((await get('//')).text).toBe('')
  expect((await get('/other')).text).toBe('')
  expect(JSON.parse((await get('/__count')).text)).toEqual({ count: 2 })
})

test('SIGTERM ends it', async () => {
  receiver.kill('SIGTERM')
  expect(await receiver.exited).toEqual({ code: 0, signal: null })
})
