import { setTimeout as sleep } from 'node:timers/promises'
import { waitFor } from '@switchhook/testing/wait-for'
import type { Evidence, SmsOptions } from './evidence.ts'
import { type Look, watchStandstills } from './standstills.ts'
import type { Line } from './tenant.ts'

export type LoadReport = {
  readonly sent: number
  /** How often each status came; `none` where there was no whole answer. */
  readonly statuses: Readonly<Record<string, number>>
  /** Answers that were no 200, or later than that; but for those during which the machine stood still so long. */
  unexcused(withinMs: number): string[]
}

type Answer = { readonly status: string; readonly sentAtMs: number; readonly tookMs: number }

export type Load = {
  /** Answers so far. */
  readonly answered: number
  /** Resolves once that many more messages have been answered than now. */
  waitForMore(howMany: number, timeoutMs: number): Promise<void>
  /** Sends no more, waits for the answers that are still out. */
  stop(): Promise<LoadReport>
}

const TICK_MS = 20
/** Standing still for so long, a store that is there may fail to take a message in time. */
const EXCUSE_MS = 250
/** More is no standstill of the machine, but somebody who does not answer. */
const MAX_STILL_MS = 1_500
/** A provider has a limit too; beyond it messages wait for their turn. */
const MAX_OPEN_REQUESTS = 100

/**
 * Sends messages at a steady rate, each once and whatever the answers are, until it is stopped. `looks`: what must not
 * stand still for a message to be taken in time.
 */
export function startLoad(
  evidence: Pick<Evidence, 'sendOnce'>,
  line: Line,
  ratePerSecond: number,
  options: () => SmsOptions = () => ({}),
  looks: readonly Look[] = [],
): Load {
  const open = new Set<Promise<void>>()
  const answers: Answer[] = []
  const standstills = watchStandstills(looks)
  const statuses: Record<string, number> = {}
  const startedAtMs = performance.now()
  let isStopped = false
  let sent = 0
  let answered = 0

  async function sendOne(): Promise<void> {
    const sentAtMs = performance.now()
    let status = 'none'
    try {
      const { answer } = await evidence.sendOnce(line, { ...options(), body: `Message ${sent}` })
      status = String(answer.status)
    } catch (error) {
      status = /^answered (\d+)/.exec((error as Error).message)?.[1] ?? 'none'
    }
    statuses[status] = (statuses[status] ?? 0) + 1
    answered += 1
    answers.push({ status, sentAtMs, tookMs: performance.now() - sentAtMs })
  }

  async function run(): Promise<void> {
    while (!isStopped) {
      const due = ((performance.now() - startedAtMs) / 1000) * ratePerSecond
      while (sent < due && open.size < MAX_OPEN_REQUESTS) {
        sent += 1
        const one: Promise<void> = sendOne().finally(() => open.delete(one))
        open.add(one)
      }
      await sleep(TICK_MS)
    }
    await Promise.all(open)
  }
  const running = run()

  return {
    get answered() {
      return answered
    },
    async waitForMore(howMany, timeoutMs) {
      const target = answered + howMany
      await waitFor(() => answered >= target, { timeoutMs, what: `${howMany} more answers` })
    },
    async stop() {
      isStopped = true
      await running
      await standstills.stop()
      return {
        ...{ sent, statuses },
        unexcused: (withinMs) =>
          answers.flatMap(({ status, sentAtMs, tookMs }) => {
            const stillMs = Math.min(standstills.within(sentAtMs, sentAtMs + tookMs), MAX_STILL_MS)
            const isFine = status === '200' || (status === '503' && stillMs >= EXCUSE_MS)
            if (isFine && tookMs - stillMs < withinMs) return []
            return [
              `${status} after ${Math.round(tookMs)} ms, ${Math.round(stillMs)} of them still`,
            ]
          }),
      }
    },
  }
}
