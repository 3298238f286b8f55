import { createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { findFreePort } from './free-port.ts'

async function listen(port: number): Promise<number> {
  const server = createServer()
  onTestFinished(() => void server.close())
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return port
}

test('the port found can be listened on', async () => {
  const port = await findFreePort()
  expect(await listen(port)).toBe(port)
})

test('the preferred port is found where it is free, another one where it is busy', async () => {
  const preferred = await findFreePort()
  expect(await findFreePort(preferred)).toBe(preferred)
  await listen(preferred)
  expect(await findFreePort(preferred)).not.toBe(preferred)
})
