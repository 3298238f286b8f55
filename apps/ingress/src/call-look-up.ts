import { withDeadline } from '@switchhook/core/deadline'
import { findCallNamed, findTenantsOfCalls } from '@switchhook/core/store/call-names'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import { LRUCache } from 'lru-cache'

export type CallOwner = {
  /** As the call's first webhook named it. */
  readonly callSid: string | null
  /** The tenant's own number. */
  readonly phoneNumber: string | null
  readonly peerNumber: string | null
  readonly assistantId: number | null
}

/** What earlier webhooks of a call said. Never throws; nothing is found when Postgres does not say in time. */
export type CallLookUp = {
  /** By its SID or another name of it, the likeliest first. */
  findOwner(organizationId: string, callNames: readonly string[]): Promise<CallOwner | undefined>
  /** The tenants that have a call of one of these names. */
  findTenants(callNames: readonly string[]): Promise<readonly string[]>
}

/** Within the 1.5 s that a provider's answer may take. */
const LOOK_UP_TIMEOUT_MS = 200
const MAX_CALLS = 10_000

/**
 * A recording's callback names its call, not its number; the call's first webhook told the number. Without an answer the
 * event is the organization's only: destinations of an assistant or number miss it, which is better than refusing it.
 */
export function createCallLookUp(database: Pick<DatabaseHandle, 'db'>): CallLookUp {
  const known = new LRUCache<string, CallOwner>({ max: MAX_CALLS })

  async function findOwner(organizationId: string, callNames: readonly string[]) {
    for (const name of callNames) {
      const key = `${organizationId} ${name}`
      const cached = known.get(key)
      if (cached !== undefined) return cached
      const call = await findCallNamed(database.db, organizationId, name)
      if (call === undefined) continue
      const { callSid, toPhoneNumber: phoneNumber, customerPhoneNumber: peerNumber } = call
      const owner = { callSid, phoneNumber, peerNumber, assistantId: call.assistantId }
      known.set(key, owner)
      return owner
    }
    return undefined
  }

  const inTime = <T>(work: Promise<T>): Promise<T> =>
    withDeadline(work, LOOK_UP_TIMEOUT_MS, 'call look-up')
  return {
    findOwner: (organizationId, callNames) =>
      inTime(findOwner(organizationId, callNames)).catch(() => undefined),
    findTenants: (callNames) => inTime(findTenantsOfCalls(database.db, callNames)).catch(() => []),
  }
}
