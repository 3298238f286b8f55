export type ReadOnce<Result> = {
  /** Undefined when it could not be read. */
  readonly value: Result | undefined
  /** The value, or what `read` threw, every time. */
  get(): Result
}

/** Reads at once and throws, if it has to, only when somebody asks: a webhook is taken apart before it is believed. */
export function tryRead<Result>(read: () => Result): ReadOnce<Result> {
  try {
    const value = read()
    return { value, get: () => value }
  } catch (error) {
    return {
      value: undefined,
      get() {
        throw error
      },
    }
  }
}
