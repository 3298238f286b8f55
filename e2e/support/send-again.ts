import { setTimeout as sleep } from 'node:timers/promises'

const RETRY_AFTER_MS = 1_000
const GIVE_UP_MS = 20_000

/** As a provider does, and as a 503 asks for: sends it again, for a while. A store may be slow for a moment. */
export async function sendAgain<T extends { readonly status: number }>(
  send: () => Promise<T>,
): Promise<T> {
  const endsAtMs = performance.now() + GIVE_UP_MS
  let answer = await send()
  while (answer.status === 503 && performance.now() < endsAtMs) {
    await sleep(RETRY_AFTER_MS)
    answer = await send()
  }
  return answer
}
