import type { Lane } from './lanes.ts'

/** What one worker knows of one destination: how quickly it answers, and what is on its way to it. */
export type DestinationSlots = {
  /** Moving average over its last attempts, which tells its pace; undefined until the first has ended. */
  latencyMs: number | undefined
  /** The same over many more, which tells how long a queue takes. */
  meanMs: number
  isSlow: boolean
  /** When each attempt in flight began, the oldest first. */
  readonly startedAtMs: Map<number, number>
  attemptsStarted: number
  attemptsEnded: number
  /** When an attempt was last refused for want of a slot. */
  fullAtMs: number
  lastQuickEndAtMs: number
  /** Per lane: when the last of those put off should find a slot. A backlog of records is not before a call. */
  readonly queueEndsAtMs: Map<Lane, number>
  /** It asked for time (429): nothing is sent before. */
  heldUntilMs: number
  /** Fewer attempts at once than its cap, since it asked for time; one more with each attempt that ends. */
  allowance: number
}

/** `unproven`: nothing is known of it yet, or it has just stopped answering. */
export type Pace = 'fast' | 'unproven' | 'slow'

const SLOW_MS = 1_000
/** Well below the above, or a destination near it would go to and fro. */
const QUICK_MS = 500
/** One attempt that hangs for 10 s makes a quick destination slow, seven quick ones make it quick again. */
const SAMPLE_WEIGHT = 0.2
const MEAN_WEIGHT = 0.05
const STUCK_MS = 250
/** A little more than the others take: what wakes up too early has lost its place. */
const HEADROOM = 1.05
const FIRST_WAIT_MS = 10
/** A first attempt takes longer than a slot is taken otherwise. */
const FIRST_UNPROVEN_WAIT_MS = 40
const MAX_BACKOFF_MS = 20_000
/** What it is will be known within a second or two: a healthy one that comes now must not wait for long. */
const MAX_UNPROVEN_BACKOFF_MS = 2_000
/** A destination that hung has its backlog back so soon after it recovered. */
const MAX_WAIT_MS = 60_000
/** A queue shorter than this is left to chance: keeping its order would cost more than it is worth. */
const SHORT_QUEUE_MS = 100
const FORGET_QUEUE_MS = 1_000

export function createDestinationSlots(): DestinationSlots {
  return {
    latencyMs: undefined,
    meanMs: 0,
    isSlow: false,
    startedAtMs: new Map(),
    attemptsStarted: 0,
    attemptsEnded: 0,
    fullAtMs: Number.NEGATIVE_INFINITY,
    lastQuickEndAtMs: Number.NEGATIVE_INFINITY,
    queueEndsAtMs: new Map(),
    heldUntilMs: 0,
    allowance: Number.POSITIVE_INFINITY,
  }
}

/** How long attempts have been in flight without any coming back quickly. */
function stuckMs(slots: DestinationSlots, nowMs: number): number {
  const [oldestMs] = slots.startedAtMs.values()
  return oldestMs === undefined ? 0 : nowMs - Math.max(oldestMs, slots.lastQuickEndAtMs)
}

export function paceOf(slots: DestinationSlots, nowMs: number): Pace {
  const silentMs = stuckMs(slots, nowMs)
  if (slots.isSlow || silentMs >= SLOW_MS) return 'slow'
  const { latencyMs } = slots
  if (latencyMs === undefined || silentMs >= Math.max(STUCK_MS, 2 * latencyMs)) return 'unproven'
  return 'fast'
}

/** Returns what `endAttempt` wants. */
export function startAttempt(slots: DestinationSlots, nowMs: number): number {
  slots.attemptsStarted += 1
  slots.startedAtMs.set(slots.attemptsStarted, nowMs)
  return slots.attemptsStarted
}

export function endAttempt(slots: DestinationSlots, attempt: number, nowMs: number): void {
  const tookMs = nowMs - (slots.startedAtMs.get(attempt) ?? nowMs)
  slots.startedAtMs.delete(attempt)
  const { latencyMs: before, meanMs } = slots
  const latencyMs = before === undefined ? tookMs : before + SAMPLE_WEIGHT * (tookMs - before)
  slots.latencyMs = latencyMs
  slots.attemptsEnded += 1
  slots.meanMs = meanMs + Math.max(MEAN_WEIGHT, 1 / slots.attemptsEnded) * (tookMs - meanMs)
  slots.isSlow = latencyMs >= (slots.isSlow ? QUICK_MS : SLOW_MS)
  if (tookMs < SLOW_MS) slots.lastQuickEndAtMs = nowMs
  slots.allowance += 1
}

/** After an attempt that never was: nothing is learnt from it. */
export function forgetAttempt(slots: DestinationSlots, attempt: number): void {
  slots.startedAtMs.delete(attempt)
}

/** 429: nothing for so long, and then half of what is on its way now, growing again as attempts end. */
export function slowDown(slots: DestinationSlots, forMs: number, nowMs: number): void {
  slots.heldUntilMs = Math.max(slots.heldUntilMs, nowMs + forMs)
  slots.allowance = Math.max(1, Math.min(slots.allowance, Math.floor(slots.startedAtMs.size / 2)))
}

/** May an attempt begin? `limit`: attempts at once. Those put off before (`waits` > 0) go before those who come. */
export function hasSlot(
  slots: DestinationSlots,
  limit: number,
  lane: Lane,
  waits: number,
  nowMs: number,
): boolean {
  if (nowMs < slots.heldUntilMs) return false
  if (slots.startedAtMs.size >= Math.min(limit, slots.allowance)) {
    slots.fullAtMs = nowMs
    return false
  }
  if (waits > 0 || (slots.queueEndsAtMs.get(lane) ?? 0) - nowMs <= SHORT_QUEUE_MS) return true
  // Slots have been free for a while: the queue was not as long as it was thought to be.
  if (nowMs - slots.fullAtMs <= FORGET_QUEUE_MS) return false
  slots.queueEndsAtMs.set(lane, nowMs)
  return true
}

/** Grows with every wait, so that however wrong the estimates are nothing wakes up often. */
function backoffMs(firstMs: number, waits: number, random: number, maxMs = MAX_BACKOFF_MS): number {
  return Math.min(firstMs * 2 ** Math.min(waits, 20), maxMs) * (0.5 + random)
}

/**
 * How long a delivery that found no slot waits: for the end of all that was put off before it, each taking the average
 * latency divided by the attempts at once (above 0, a fraction where workers share a slot). Of an unproven destination
 * nothing can be foretold, but what it is will be known soon. `random` in [0, 1) spreads what waits for the same moment.
 */
export function queueUp(
  slots: DestinationSlots,
  limit: number,
  lane: Lane,
  waits: number,
  nowMs: number,
  random: number,
): number {
  const pace = paceOf(slots, nowMs)
  const heldMs = Math.max(0, slots.heldUntilMs - nowMs)
  if (pace === 'unproven') {
    const waitMs = backoffMs(FIRST_UNPROVEN_WAIT_MS, waits, random, MAX_UNPROVEN_BACKOFF_MS)
    // Nothing has come back for so long: that it comes within much less is not likely.
    return Math.ceil(heldMs + Math.max(waitMs, stuckMs(slots, nowMs) * (0.5 + random)))
  }
  const takesMs = Math.max(1, slots.meanMs, pace === 'slow' ? stuckMs(slots, nowMs) : 0)
  const beginsAtMs = Math.max(slots.queueEndsAtMs.get(lane) ?? 0, slots.heldUntilMs, nowMs)
  const endsAtMs = beginsAtMs + (HEADROOM * takesMs) / Math.min(limit, slots.allowance)
  slots.queueEndsAtMs.set(lane, endsAtMs)
  const waitMs = Math.max(endsAtMs - nowMs, backoffMs(FIRST_WAIT_MS, waits, random))
  const maxMs = Math.max(MAX_WAIT_MS, heldMs)
  return Math.ceil(waitMs <= maxMs ? waitMs : maxMs * (0.5 + 0.5 * random))
}
