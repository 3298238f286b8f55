import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'

export type WaitForOptions = {
  timeoutMs: number
  /** Pause between two looks. */
  everyMs?: number
  /** What is waited for; named in the error. */
  what: string
}

/** What counts as "not yet": everything else ends the wait. */
type NotYet = undefined | null | false

const MAX_SHOWN_LENGTH = 2_000

/**
 * Calls `fn` until it returns something other than undefined, null or false, and returns that.
 * A throw or a rejection counts as "not yet".
 * Throws an Error that names `what` and the last value or error once `timeoutMs` have passed, also
 * when a call of `fn` hangs.
 */
export async function waitFor<T>(
  fn: () => T | Promise<T>,
  { timeoutMs, everyMs = 20, what }: WaitForOptions,
): Promise<Exclude<T, NotYet>> {
  let isOver = false
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<'over'>((resolve) => {
    timer = setTimeout(() => {
      isOver = true
      resolve('over')
    }, timeoutMs)
  })
  let last = 'nothing: the first look has not ended'
  let cause: unknown
  while (!isOver) {
    const seen = await Promise.race([look(fn), over])
    if (seen === 'over') break
    if ('error' in seen) {
      last = `the error ${show(seen.error)}`
      cause = seen.error
    } else if (isReady(seen.value)) {
      clearTimeout(timer)
      return seen.value
    } else {
      last = show(seen.value)
      cause = undefined
    }
    await sleep(everyMs)
  }
  throw new Error(`waited ${timeoutMs} ms in vain for ${what}; last seen: ${last}`, { cause })
}

async function look<T>(fn: () => T | Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await fn() }
  } catch (error) {
    return { error }
  }
}

function isReady<T>(value: T): value is Exclude<T, NotYet> {
  return value !== undefined && value !== null && value !== false
}

function show(value: unknown): string {
  const text = value instanceof Error ? `${value.name}: ${value.message}` : inspect(value)
  return text.slice(0, MAX_SHOWN_LENGTH)
}
