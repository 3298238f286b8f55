import { inject } from 'vitest'

declare module 'vitest' {
  interface ProvidedContext {
    databaseUrl: string
    redisUrl: string
  }
}

/** The stores of this test run, as the global setup (stores-setup.ts) provides them. Only within a test. */
export function providedStores(): { databaseUrl: string; redisUrl: string } {
  return { databaseUrl: inject('databaseUrl'), redisUrl: inject('redisUrl') }
}
