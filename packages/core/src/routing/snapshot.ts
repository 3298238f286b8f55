import type { KeyObject } from 'node:crypto'
import type { Destination, ProviderName } from '../event.ts'

/** A row as it was read last; `isDeleted` rows take their predecessor out of the snapshot. */
type Versioned = { readonly version: number; readonly isDeleted: boolean }

export type Organization = Versioned & {
  readonly id: string
  readonly name: string
  /** URL changes at a provider wait until another key approves. */
  readonly needsChangeApproval: boolean
  /** Gets the operational events. */
  readonly operationsDestinationId: string | null
}

export type ApiKey = Versioned & {
  readonly id: string
  readonly organizationId: string
  readonly secretSha256: Buffer
  readonly scopes: readonly ('read' | 'write' | 'admin')[]
}

export type ProviderAccount = Versioned & {
  readonly id: string
  readonly organizationId: string
  readonly provider: ProviderName
  readonly accountSid: string | null
  readonly createdAtMs: number
  /** What a signature may hold with, opened once when the row is read. */
  readonly verifyKeys: readonly KeyObject[]
  /** SHA-256 of "username:password"; null when none is asked for. */
  readonly basicSha256: Buffer | null
  /** Empty: from anywhere. */
  readonly allowedCidrs: readonly string[]
  /** SHA-256 of the live path tokens, in hex: one, or two while they are rotated. */
  readonly tokenHashes: readonly string[]
  /** A token is there but cannot be opened: that a signature does not hold is then our fault. */
  readonly isUnreadable?: boolean
}

export type Assistant = Versioned & {
  readonly id: number
  readonly organizationId: string
  readonly fallbackEmail: string | null
}

export type PhoneNumber = Versioned & {
  readonly id: number
  readonly organizationId: string
  readonly phoneNumber: string
  readonly assistantId: number | null
  readonly serviceId: string | null
}

export type DestinationRow = Destination & Versioned

/** What changed since a version, as the store reads it. */
export type ConfigChanges = {
  /** Everything there is, not only what changed: the database was restored, and its versions began anew. */
  readonly isWhole?: boolean
  readonly organizations: readonly Organization[]
  readonly apiKeys: readonly ApiKey[]
  readonly providerAccounts: readonly ProviderAccount[]
  readonly assistants: readonly Assistant[]
  readonly phoneNumbers: readonly PhoneNumber[]
  readonly destinations: readonly DestinationRow[]
}

/** Tenants, numbers and destinations in memory: what a request needs to know without asking anybody. */
export type Snapshot = {
  version(): number
  /** Takes the changes over, one row at a time. */
  apply(changes: ConfigChanges): void
  hasOrganization(id: string): boolean
  countOrganizations(): number
  findApiKey(id: string): ApiKey | undefined
  /** More than one tenant may have registered an account; a signature tells whose it is. */
  findAccounts(provider: ProviderName, accountSid: string): readonly ProviderAccount[]
  /** By the SHA-256 of a path token, in hex. */
  findAccountByToken(tokenHash: string): ProviderAccount | undefined
  /** All of an organization's accounts with a provider. */
  accountsOf(organizationId: string, provider: ProviderName): readonly ProviderAccount[]
  findOrganization(id: string): Organization | undefined
  findAssistant(id: number): Assistant | undefined
  findPhoneNumber(organizationId: string, phoneNumber: string): PhoneNumber | undefined
  /** Every tenant's row of a number: nothing here proves whose it is. */
  findNumberOwners(phoneNumber: string): readonly PhoneNumber[]
  findDestination(id: string): Destination | undefined
  /** All destinations whose scope may cover the number or assistant, whatever their event types. */
  destinationsInScope(scope: Scope): readonly Destination[]
}

export type Scope = {
  readonly organizationId: string
  readonly phoneNumber: string | null
  readonly assistantId: number | null
}

/** An index from a key to the rows that have it; a row moves when its key changes. */
function createIndex<Row extends { readonly id: string | number }>(): {
  put(key: string, row: Row): void
  remove(key: string, row: Row): void
  find(key: string): readonly Row[]
  clear(): void
} {
  // A map of maps: of 100,000 destinations of one organization, one is taken out without looking at the others.
  const rowsByKey = new Map<string, Map<Row['id'], Row>>()
  return {
    put(key, row) {
      const rows = rowsByKey.get(key)
      if (rows === undefined) rowsByKey.set(key, new Map([[row.id, row]]))
      else rows.set(row.id, row)
    },
    remove(key, row) {
      const rows = rowsByKey.get(key)
      rows?.delete(row.id)
      if (rows?.size === 0) rowsByKey.delete(key)
    },
    find: (key) => [...(rowsByKey.get(key)?.values() ?? [])],
    clear: () => rowsByKey.clear(),
  }
}

const numberKey = (organizationId: string, phoneNumber: string): string =>
  `${organizationId} ${phoneNumber}`
const accountKey = (provider: ProviderName, accountSid: string): string =>
  `${provider} ${accountSid}`

/** Where a destination is filed: under its number, else its assistant, else its organization. */
function scopeKey(destination: Destination): string {
  if (destination.phoneNumber !== null) {
    return `number ${numberKey(destination.organizationId, destination.phoneNumber)}`
  }
  if (destination.assistantId !== null) return `assistant ${destination.assistantId}`
  return `organization ${destination.organizationId}`
}

export function createSnapshot(): Snapshot {
  let version = 0
  const organizations = new Map<string, Organization>()
  const apiKeys = new Map<string, ApiKey>()
  const accounts = new Map<string, ProviderAccount>()
  const accountsBySid = createIndex<ProviderAccount>()
  const accountsByOrganization = createIndex<ProviderAccount>()
  const accountsByToken = new Map<string, ProviderAccount>()
  const assistants = new Map<number, Assistant>()
  const numbersById = new Map<number, PhoneNumber>()
  const numbers = new Map<string, PhoneNumber>()
  const numberOwners = createIndex<PhoneNumber>()
  const destinations = new Map<string, DestinationRow>()
  const destinationsByScope = createIndex<DestinationRow>()

  function keep<Key, Row extends Versioned>(map: Map<Key, Row>, key: Key, row: Row): void {
    version = Math.max(version, row.version)
    if (row.isDeleted) map.delete(key)
    else map.set(key, row)
  }

  function forgetAll(): void {
    version = 0
    for (const rows of [organizations, apiKeys, accounts, assistants, destinations]) rows.clear()
    for (const rows of [accountsBySid, accountsByOrganization, accountsByToken]) rows.clear()
    for (const rows of [numbers, numbersById, numberOwners, destinationsByScope]) rows.clear()
  }

  function applyAccount(row: ProviderAccount): void {
    const before = accounts.get(row.id)
    if (before !== undefined) {
      if (before.accountSid) {
        accountsBySid.remove(accountKey(before.provider, before.accountSid), before)
      }
      accountsByOrganization.remove(accountKey(before.provider, before.organizationId), before)
      for (const tokenHash of before.tokenHashes) accountsByToken.delete(tokenHash)
    }
    keep(accounts, row.id, row)
    if (row.isDeleted) return
    if (row.accountSid) accountsBySid.put(accountKey(row.provider, row.accountSid), row)
    accountsByOrganization.put(accountKey(row.provider, row.organizationId), row)
    for (const tokenHash of row.tokenHashes) accountsByToken.set(tokenHash, row)
  }

  function applyNumber(row: PhoneNumber): void {
    const before = numbersById.get(row.id)
    if (before !== undefined) {
      const key = numberKey(before.organizationId, before.phoneNumber)
      // A number that was deleted and made again has two rows; the older one must not take the newer out.
      if (numbers.get(key)?.id === row.id) numbers.delete(key)
      numberOwners.remove(before.phoneNumber, before)
    }
    keep(numbersById, row.id, row)
    if (row.isDeleted) return
    numbers.set(numberKey(row.organizationId, row.phoneNumber), row)
    numberOwners.put(row.phoneNumber, row)
  }

  function applyDestination(row: DestinationRow): void {
    const before = destinations.get(row.id)
    if (before !== undefined) destinationsByScope.remove(scopeKey(before), before)
    keep(destinations, row.id, row)
    if (!row.isDeleted) destinationsByScope.put(scopeKey(row), row)
  }

  return {
    version: () => version,
    apply(changes) {
      if (changes.isWhole === true) forgetAll()
      for (const row of changes.organizations) keep(organizations, row.id, row)
      for (const row of changes.apiKeys) keep(apiKeys, row.id, row)
      for (const row of changes.providerAccounts) applyAccount(row)
      for (const row of changes.assistants) keep(assistants, row.id, row)
      for (const row of changes.phoneNumbers) applyNumber(row)
      for (const row of changes.destinations) applyDestination(row)
    },
    hasOrganization: (id) => organizations.has(id),
    countOrganizations: () => organizations.size,
    findApiKey: (id) => apiKeys.get(id),
    findAccounts: (provider, accountSid) => accountsBySid.find(accountKey(provider, accountSid)),
    findAccountByToken: (tokenHash) => accountsByToken.get(tokenHash),
    accountsOf: (organizationId, provider) =>
      accountsByOrganization.find(accountKey(provider, organizationId)),
    findOrganization: (id) => organizations.get(id),
    findAssistant: (id) => assistants.get(id),
    findPhoneNumber: (organizationId, phoneNumber) =>
      numbers.get(numberKey(organizationId, phoneNumber)),
    findNumberOwners: (phoneNumber) => numberOwners.find(phoneNumber),
    findDestination: (id) => destinations.get(id),
    destinationsInScope({ organizationId, phoneNumber, assistantId }) {
      return [
        ...(phoneNumber === null
          ? []
          : destinationsByScope.find(`number ${numberKey(organizationId, phoneNumber)}`)),
        ...(assistantId === null ? [] : destinationsByScope.find(`assistant ${assistantId}`)),
        ...destinationsByScope.find(`organization ${organizationId}`),
      ]
    },
  }
}
