/**
 * The load generator as a process of its own. Env: RUN, 16 hex digits that make its messages' sids unlike those of any
 * other run. Messages are signed before a run, never during it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { epochMs } from './clock.ts'
import { openHttpLanes } from './http-lanes.ts'
import type { LoadRequest, LoadRun } from './load-run.ts'
import { createWebhookBuilder } from './signed-webhooks.ts'

const MAX_LANES = 256
const ANSWER_TIMEOUT_MS = 5_000
const START_DELAY_MS = 20

const builder = createWebhookBuilder(process.env.RUN ?? '')
let prepared: Buffer[] = []
let nextSequence = 0

function take(count: number): { readonly requests: readonly Buffer[]; readonly run: LoadRun } {
  if (prepared.length < count) throw new Error(`only ${prepared.length} messages are prepared`)
  const requests = prepared.slice(0, count)
  prepared = prepared.slice(count)
  const run = {
    firstSequence: nextSequence - prepared.length - count,
    intendedAtMs: new Float64Array(count).fill(Number.NaN),
    answeredAtMs: new Float64Array(count).fill(Number.NaN),
    statuses: new Uint16Array(count),
  }
  return { requests, run }
}

/** Sends until nothing is left and all is answered, or nothing has been answered for a while. */
async function runLoad(
  port: number,
  count: number,
  start: (send: (index: number) => void, run: LoadRun) => (() => void) | undefined,
): Promise<LoadRun> {
  const { requests, run } = take(count)
  const done = Promise.withResolvers<void>()
  let answered = 0
  let afterAnswer: (() => void) | undefined
  const lanes = openHttpLanes(port, MAX_LANES, (index, status) => {
    run.statuses[index] = status
    if (status !== 0) run.answeredAtMs[index] = epochMs()
    answered += 1
    if (answered === count) done.resolve()
    else afterAnswer?.()
  })
  afterAnswer = start((index) => {
    const request = requests[index]
    if (request !== undefined) lanes.send(index, request)
  }, run)
  let seen = -1
  const stalled = new AbortController()
  const watch = async (): Promise<void> => {
    while (!stalled.signal.aborted && answered > seen) {
      seen = answered
      await sleep(ANSWER_TIMEOUT_MS, undefined, { signal: stalled.signal }).catch(() => undefined)
    }
  }
  await Promise.race([done.promise, watch()])
  stalled.abort()
  lanes.close()
  return run
}

function runOpenLoop({ port, rate, count }: Extract<LoadRequest, { kind: 'open' }>) {
  return runLoad(port, count, (send, run) => {
    const startAtMs = epochMs() + START_DELAY_MS
    for (let index = 0; index < count; index += 1) {
      run.intendedAtMs[index] = startAtMs + (index * 1_000) / rate
    }
    let sent = 0
    const sendDue = (): void => {
      const due = Math.min(count, Math.floor(((epochMs() - startAtMs) * rate) / 1_000) + 1)
      for (; sent < due; sent += 1) send(sent)
      if (sent < count) setTimeout(sendDue, 1)
    }
    setTimeout(sendDue, START_DELAY_MS)
    return undefined
  })
}

function runClosedLoop({ port, inFlight, count }: Extract<LoadRequest, { kind: 'closed' }>) {
  return runLoad(port, count, (send, run) => {
    let sent = 0
    const sendNext = (): void => {
      if (sent === count) return
      run.intendedAtMs[sent] = epochMs()
      send(sent)
      sent += 1
    }
    for (let lane = 0; lane < inFlight; lane += 1) sendNext()
    return sendNext
  })
}

async function handle(request: LoadRequest): Promise<object> {
  if (request.kind === 'open') return runOpenLoop(request)
  if (request.kind === 'closed') return runClosedLoop(request)
  for (let made = 0; made < request.count; made += 1) {
    prepared.push(builder.requestOf(nextSequence))
    nextSequence += 1
  }
  return { bodyBytes: builder.formOf(0).length }
}

process.on('message', (request: LoadRequest) => {
  handle(request).then(
    (answer) => process.send?.(answer),
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`)
      process.exit(1)
    },
  )
})
process.once('disconnect', () => process.exit())
