import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createEgressAgent } from './egress-agent.ts'
import { postEvent } from './post-event.ts'

const agent = createEgressAgent(
  createEgressRules({ allowedCidrs: ['127.0.0.0/8'], allowHttp: true }),
)
const sockets = new Set<Socket>()
let server: Server
let url: string

/** Answers with the status in the path, as it is written there. */
beforeAll(async () => {
  server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('data', (head) => {
      const status = /^POST \/(\d+)/.exec(head.toString('latin1'))?.[1]
      socket.end(`HTTP/1.1 ${status} Whatever\r\nconnection: close\r\n\r\n`)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
})
afterAll(async () => {
  await agent.destroy()
  for (const socket of sockets) socket.destroy()
  await new Promise((resolve) => server.close(resolve))
})

const post = (status: string) =>
  postEvent(agent, {
    ...{ url: url + status, headers: {}, body: Buffer.from('{}') },
    ...{ timeoutMs: 20_000, successRule: '2xx' },
  })

it('every final status is what it is: 200 to 299 delivered, any other refused', async () => {
  for (let status = 200; status <= 999; status += 1) {
    const result = await post(String(status))
    const outcome = status <= 299 ? 'delivered' : 'refused'
    expect([status, result]).toEqual([status, expect.objectContaining({ outcome })])
    expect(result.statusCode).toBe(status)
  }
}, 120_000)

it.each(['000', '001', '099', '100', '101', '102', '103', '199', '1000', '20', '2'])(
  'a status of %s is none, and delivers nothing',
  async (status) => {
    const result = await post(status)
    expect(result.outcome).not.toBe('delivered')
    expect(result.statusCode === null || result.statusCode < 200).toBe(true)
  },
)
