import { setTimeout as delay } from 'node:timers/promises'

const askEveryMs = 20

/** Asks `condition` every 20 ms; true as soon as it holds, false when `timeoutMs` passed first. */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  while (!(await condition())) {
    if (performance.now() >= deadline) return false
    await delay(askEveryMs)
  }
  return true
}
