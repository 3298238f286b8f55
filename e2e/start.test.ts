import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findFreePort } from '@switchhook/embedded/free-port'
import { type RunningProcess, spawnNode } from '@switchhook/testing/processes'
import { waitFor } from '@switchhook/testing/wait-for'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const START_TIMEOUT_MS = 60_000
let dataDir: string

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'switchhook-start-'))
})
afterAll(() => rm(dataDir, { recursive: true, force: true }))

async function start(ports: { ingress: number; ops: number }): Promise<RunningProcess> {
  return spawnNode({
    entry: new URL('../apps/cli/bin/switchhook.js', import.meta.url),
    args: ['start'],
    env: {
      SWITCHHOOK_DATA_DIR: dataDir,
      INGRESS_PORT: String(ports.ingress),
      OPS_PORT: String(ports.ops),
    },
    name: 'switchhook start',
  })
}

const textOf = (product: RunningProcess): string => product.lines.map(({ text }) => text).join('\n')

describe('npm start', () => {
  it('shows one signed SMS verified, delivered and logged, stops in order, and knows its tenant again', async () => {
    const keys: string[] = []
    for (const run of ['first', 'second']) {
      const ports = { ingress: await findFreePort(), ops: await findFreePort() }
      await using product = await start(ports)
      await product.waitForLine(/verified .*evt_/, START_TIMEOUT_MS)
      await product.waitForLine(/delivered .*200.*dlv_/, START_TIMEOUT_MS)
      const logged = await product.waitForLine(/logged .*curl/, START_TIMEOUT_MS)

      const [, key = '', url = ''] = /Bearer (\S+)' '([^']+)'/.exec(logged) ?? []
      expect(url).toContain(`:${ports.ingress}/`)
      const log = await request(url, { headers: { authorization: `Bearer ${key}` } })
      expect(await log.body.json(), run).toMatchObject({
        items: [{ success: true, webhook_type: 'sms_received', response_status_code: 200 }],
      })
      keys.push(key)
      const isReady = async () => {
        const { statusCode, body } = await request(`http://127.0.0.1:${ports.ops}/readyz`)
        await body.dump()
        return statusCode === 200
      }
      await waitFor(isReady, { timeoutMs: START_TIMEOUT_MS, everyMs: 100, what: '/readyz' })

      product.kill('SIGINT')
      expect(await product.exited).toEqual({ code: 0, signal: null })
      expect(textOf(product)).toContain('Stopped.')
    }
    expect(new Set(keys).size).toBe(1)
  })

  it('says which port is in use, and how to choose another', async () => {
    const busy = await findFreePort()
    const { createServer } = await import('node:net')
    const server = createServer().listen(busy, '127.0.0.1')
    await using product = await start({ ingress: busy, ops: await findFreePort() })
    expect((await product.exited).code).toBe(1)
    expect(textOf(product)).toContain(`port ${busy} (INGRESS_PORT) is in use`)
    server.close()
  })
})
