/** What a wait ends with when its time is up. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError'
}

/** The promise's outcome, or DeadlineError after `ms`. The work itself goes on; its late failure is swallowed. */
export async function withDeadline<T>(work: Promise<T>, ms: number, what: string): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new DeadlineError(`${what}: no answer in ${ms} ms`)), ms)
  try {
    return await Promise.race([work, promise])
  } finally {
    clearTimeout(timer)
    work.catch(() => undefined)
  }
}
