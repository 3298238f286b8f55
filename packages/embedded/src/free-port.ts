import { createServer } from 'node:net'
import { isErrno } from './is-errno.ts'

/**
 * A TCP port that is free on 127.0.0.1: `preferred` where possible, else one the system picks.
 * Free at this moment only: whoever listens on it must still expect EADDRINUSE.
 */
export async function findFreePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && preferred > 0) {
    const port = await tryListen(preferred).catch((error: unknown) => {
      if (isErrno(error, 'EADDRINUSE', 'EACCES')) return undefined
      throw error
    })
    if (port !== undefined) return port
  }
  return await tryListen(0)
}

function tryListen(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => {
        if (address === null || typeof address === 'string') reject(new Error('no TCP address'))
        else resolve(address.port)
      })
    })
  })
}
