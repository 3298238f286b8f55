import {
  inConfigTransaction,
  isUniqueViolation,
  type Transaction,
} from '@switchhook/core/store/transaction'
import type { ApiDeps } from './api-deps.ts'
import { ApiError } from './api-error.ts'

/**
 * Commits a change of configuration and makes it known: the next request sees it here, the other processes within 1 s.
 * `conflict` is the detail of the 409 for a row that there is already.
 */
export async function changeConfig<T>(
  deps: Pick<ApiDeps, 'database' | 'configChanged' | 'log'>,
  work: (tx: Transaction) => Promise<T>,
  conflict = 'There is one already',
): Promise<T> {
  const result = await inConfigTransaction(deps.database.db, work).catch((error: unknown) => {
    throw isUniqueViolation(error) ? new ApiError(409, conflict) : error
  })
  try {
    await deps.configChanged()
  } catch (error) {
    // It is committed, and its answer may hold a secret that is told only once. The poll makes it known.
    deps.log.warn({ error }, 'config.announce_failed')
  }
  return result
}
