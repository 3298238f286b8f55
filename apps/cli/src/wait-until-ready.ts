import { waitFor } from '@switchhook/testing/wait-for'
import { request } from 'undici'

const READY_TIMEOUT_MS = 60_000

/** Resolves when the URL answers 200. Throws after a minute, naming it. */
export async function waitUntilReady(url: string): Promise<void> {
  await waitFor(
    async () => {
      const { statusCode, body } = await request(url, { signal: AbortSignal.timeout(2_000) })
      await body.dump()
      return statusCode === 200
    },
    { timeoutMs: READY_TIMEOUT_MS, everyMs: 50, what: url },
  )
}
