import { withDeadline } from '@switchhook/core/deadline'
import type { Snapshot } from '@switchhook/core/routing/snapshot'
import { findCallBySid } from '@switchhook/core/store/call-queries'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import { LRUCache } from 'lru-cache'

export type CallOwner = {
  /** The tenant's own number. */
  readonly phoneNumber: string | null
  readonly assistantId: number | null
}

/** Undefined when the call is not known, or Postgres does not say in time. Never throws. */
export type FindCallOwner = (
  organizationId: string,
  callSid: string,
) => Promise<CallOwner | undefined>

/** Within the 1.5 s that a provider's answer may take. */
const LOOK_UP_TIMEOUT_MS = 200
const MAX_CALLS = 10_000

/**
 * A recording's callback names its call, not its number; the call's first webhook told the number. Without an answer the
 * event is the organization's only: destinations of an assistant or number miss it, which is better than refusing it.
 */
export function createCallOwnerFinder(
  database: Pick<DatabaseHandle, 'db'>,
  snapshot: Pick<Snapshot, 'findPhoneNumber'>,
): FindCallOwner {
  const known = new LRUCache<string, CallOwner>({ max: MAX_CALLS })
  return async (organizationId, callSid) => {
    const key = `${organizationId} ${callSid}`
    const cached = known.get(key)
    if (cached !== undefined) return cached
    try {
      const finding = findCallBySid(database.db, organizationId, callSid)
      const call = await withDeadline(finding, LOOK_UP_TIMEOUT_MS, 'call look-up')
      if (call === undefined) return undefined
      const phoneNumber = call.toPhoneNumber
      const number =
        phoneNumber === null ? undefined : snapshot.findPhoneNumber(organizationId, phoneNumber)
      const owner = { phoneNumber, assistantId: call.assistantId ?? number?.assistantId ?? null }
      known.set(key, owner)
      return owner
    } catch {
      return undefined
    }
  }
}
