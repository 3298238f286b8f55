import { createSecretKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { sampleDestination } from '../../test/sample-event.ts'
import {
  type ConfigChanges,
  createSnapshot,
  type DestinationRow,
  type PhoneNumber,
  type ProviderAccount,
} from './snapshot.ts'

const NOTHING: ConfigChanges = {
  organizations: [],
  apiKeys: [],
  providerAccounts: [],
  assistants: [],
  phoneNumbers: [],
  destinations: [],
}

function number(overrides: Partial<PhoneNumber>): PhoneNumber {
  const facts = { organizationId: 'org_a', phoneNumber: '+1', assistantId: null, serviceId: null }
  return { id: 1, ...facts, version: 1, isDeleted: false, ...overrides }
}

function account(overrides: Partial<ProviderAccount>): ProviderAccount {
  return {
    id: 'pac_1',
    organizationId: 'org_a',
    provider: 'twilio',
    accountSid: 'AC1',
    verifyKeys: [createSecretKey(Buffer.from('token'))],
    basicSha256: null,
    createdAtMs: 1,
    allowedCidrs: [],
    tokenHashes: [],
    version: 1,
    isDeleted: false,
    ...overrides,
  }
}

function destination(overrides: Partial<DestinationRow>): DestinationRow {
  return { ...sampleDestination(), version: 1, isDeleted: false, ...overrides }
}

describe('the version', () => {
  it('is the highest that any row brought, in whatever order they come', () => {
    const snapshot = createSnapshot()
    expect(snapshot.version()).toBe(0)
    snapshot.apply({
      ...NOTHING,
      organizations: [
        {
          ...{ id: 'org_a', name: 'A', needsChangeApproval: false, operationsDestinationId: null },
          ...{ version: 9, isDeleted: false },
        },
      ],
      phoneNumbers: [number({ version: 3 })],
    })
    expect(snapshot.version()).toBe(9)
    snapshot.apply({ ...NOTHING, phoneNumbers: [number({ version: 11, isDeleted: true })] })
    snapshot.apply({ ...NOTHING, destinations: [destination({ version: 10 })] })
    snapshot.apply(NOTHING)
    expect(snapshot.version()).toBe(11)
  })
})

describe('a phone number', () => {
  it('is found for its own organization only', () => {
    const snapshot = createSnapshot()
    const other = number({ id: 2, organizationId: 'org_b', serviceId: 'B' })
    snapshot.apply({ ...NOTHING, phoneNumbers: [number({ serviceId: 'A' }), other] })
    expect(snapshot.findPhoneNumber('org_a', '+1')?.serviceId).toBe('A')
    expect(snapshot.findPhoneNumber('org_b', '+1')?.serviceId).toBe('B')
    expect(snapshot.findPhoneNumber('org_c', '+1')).toBeUndefined()
  })

  it('that was deleted is gone, and made again is the new one, whichever row comes first', () => {
    const deleted = number({ id: 1, version: 2, isDeleted: true })
    const again = number({ id: 2, version: 3, serviceId: 'new' })
    for (const rows of [
      [deleted, again],
      [again, deleted],
    ]) {
      for (const first of [[], [number({})]]) {
        const snapshot = createSnapshot()
        snapshot.apply({ ...NOTHING, phoneNumbers: first })
        snapshot.apply({ ...NOTHING, phoneNumbers: rows })
        expect(snapshot.findPhoneNumber('org_a', '+1')?.serviceId).toBe('new')
      }
    }
    const snapshot = createSnapshot()
    snapshot.apply({ ...NOTHING, phoneNumbers: [number({})] })
    snapshot.apply({ ...NOTHING, phoneNumbers: [deleted] })
    expect(snapshot.findPhoneNumber('org_a', '+1')).toBeUndefined()
  })

  it('that was corrected is no longer found under its old digits', () => {
    const snapshot = createSnapshot()
    snapshot.apply({ ...NOTHING, phoneNumbers: [number({})] })
    snapshot.apply({ ...NOTHING, phoneNumbers: [number({ phoneNumber: '+2', version: 2 })] })
    expect(snapshot.findPhoneNumber('org_a', '+1')).toBeUndefined()
    expect(snapshot.findPhoneNumber('org_a', '+2')?.id).toBe(1)
  })
})

describe('a provider account', () => {
  it('may be registered by more than one organization', () => {
    const snapshot = createSnapshot()
    const second = account({ id: 'pac_2', organizationId: 'org_b' })
    snapshot.apply({ ...NOTHING, providerAccounts: [account({}), second] })
    const ids = snapshot.findAccounts('twilio', 'AC1').map(({ id }) => id)
    expect(ids.sort()).toEqual(['pac_1', 'pac_2'])
    expect(snapshot.findAccounts('telnyx', 'AC1')).toEqual([])
  })

  it('is found under its new SID only, once, and not at all when it is deleted', () => {
    const snapshot = createSnapshot()
    for (const version of [1, 2]) {
      snapshot.apply({ ...NOTHING, providerAccounts: [account({ version })] })
    }
    expect(snapshot.findAccounts('twilio', 'AC1')).toHaveLength(1)
    snapshot.apply({ ...NOTHING, providerAccounts: [account({ version: 3, accountSid: 'AC2' })] })
    expect(snapshot.findAccounts('twilio', 'AC1')).toEqual([])
    expect(snapshot.findAccounts('twilio', 'AC2')).toHaveLength(1)
    const gone = account({ version: 4, accountSid: 'AC2', isDeleted: true })
    snapshot.apply({ ...NOTHING, providerAccounts: [gone] })
    expect(snapshot.findAccounts('twilio', 'AC2')).toEqual([])
  })

  it('without a SID is found by none, not even the empty one', () => {
    const snapshot = createSnapshot()
    const rows = [account({ accountSid: null }), account({ id: 'pac_2', accountSid: '' })]
    snapshot.apply({ ...NOTHING, providerAccounts: rows })
    expect(snapshot.findAccounts('twilio', '')).toEqual([])
  })
})

describe('a path token', () => {
  const token = { provider: 'pbx', accountSid: null } as const

  it('finds its account while it lives: two during a rotation, none once it is deleted', () => {
    const snapshot = createSnapshot()
    const apply = (overrides: Partial<ProviderAccount>) =>
      snapshot.apply({ ...NOTHING, providerAccounts: [account({ ...token, ...overrides })] })
    apply({ tokenHashes: ['old'] })
    apply({ tokenHashes: ['new', 'old'] })
    expect(snapshot.findAccountByToken('old')?.id).toBe('pac_1')
    expect(snapshot.findAccountByToken('new')?.id).toBe('pac_1')
    apply({ tokenHashes: ['newer', 'new'] })
    expect(snapshot.findAccountByToken('old')).toBeUndefined()
    apply({ tokenHashes: ['newer', 'new'], isDeleted: true })
    expect(snapshot.findAccountByToken('newer')).toBeUndefined()
    expect(snapshot.accountsOf('org_a', 'pbx')).toEqual([])
  })
})

describe('the accounts of an organization and the owners of a number', () => {
  it('are all of them, and nobody else’s', () => {
    const snapshot = createSnapshot()
    snapshot.apply({
      ...NOTHING,
      providerAccounts: [
        account({ id: 'pac_1', provider: 'telnyx', accountSid: null }),
        account({ id: 'pac_2', provider: 'telnyx', accountSid: null }),
        account({ id: 'pac_3' }),
        account({ id: 'pac_4', provider: 'telnyx', organizationId: 'org_b' }),
      ],
      phoneNumbers: [number({ id: 1 }), number({ id: 2, organizationId: 'org_b' })],
    })
    expect(snapshot.accountsOf('org_a', 'telnyx').map(({ id }) => id)).toEqual(['pac_1', 'pac_2'])
    expect(snapshot.findNumberOwners('+1').map(({ id }) => id)).toEqual([1, 2])
    snapshot.apply({ ...NOTHING, phoneNumbers: [number({ id: 1, isDeleted: true })] })
    expect(snapshot.findNumberOwners('+1').map(({ id }) => id)).toEqual([2])
  })
})

describe('organizations, keys and assistants', () => {
  it('come and go', () => {
    const snapshot = createSnapshot()
    const facts = { version: 1, isDeleted: false, organizationId: 'org_a' }
    const settings = { needsChangeApproval: false, operationsDestinationId: 'dst_o' }
    const organization = { ...facts, id: 'org_a', name: 'A', ...settings }
    const key = { ...facts, id: 'k1', secretSha256: Buffer.alloc(32), scopes: ['read'] as const }
    const assistant = { ...facts, id: 5, fallbackEmail: 'a@b.example' }
    snapshot.apply({
      ...NOTHING,
      organizations: [organization],
      apiKeys: [key],
      assistants: [assistant],
    })
    expect(snapshot.hasOrganization('org_a')).toBe(true)
    expect(snapshot.findApiKey('k1')).toBe(key)
    expect(snapshot.findAssistant(5)).toBe(assistant)
    const gone = { version: 2, isDeleted: true }
    snapshot.apply({
      ...NOTHING,
      organizations: [{ ...organization, ...gone }],
      apiKeys: [{ ...key, ...gone }],
      assistants: [{ ...assistant, ...gone }],
    })
    expect(snapshot.hasOrganization('org_a')).toBe(false)
    expect(snapshot.findApiKey('k1')).toBeUndefined()
    expect(snapshot.findAssistant(5)).toBeUndefined()
  })
})

describe('changes that are the whole', () => {
  it('as after a restore, leave nothing of before', () => {
    const snapshot = createSnapshot()
    const facts = { version: 90, isDeleted: false, organizationId: 'org_a' }
    snapshot.apply({
      organizations: [
        {
          ...{ ...facts, id: 'org_a', name: 'A' },
          ...{ needsChangeApproval: false, operationsDestinationId: null },
        },
      ],
      apiKeys: [{ ...facts, id: 'k1', secretSha256: Buffer.alloc(32), scopes: ['read'] }],
      providerAccounts: [account({})],
      assistants: [{ ...facts, id: 5, fallbackEmail: null }],
      phoneNumbers: [number({}), number({ id: 2, phoneNumber: '+2' })],
      destinations: [destination({})],
    })
    const restored = [number({ id: 1, phoneNumber: '+2', version: 3 })]
    snapshot.apply({ ...NOTHING, isWhole: true, phoneNumbers: restored })
    expect(snapshot.version()).toBe(3)
    expect(snapshot.hasOrganization('org_a')).toBe(false)
    expect(snapshot.findApiKey('k1')).toBeUndefined()
    expect(snapshot.findAccounts('twilio', 'AC1')).toEqual([])
    expect(snapshot.findAssistant(5)).toBeUndefined()
    expect(snapshot.findPhoneNumber('org_a', '+1')).toBeUndefined()
    expect(snapshot.findPhoneNumber('org_a', '+2')).toBe(restored[0])
    expect(snapshot.findDestination('dst_sample')).toBeUndefined()
    const scope = { organizationId: 'org_a', phoneNumber: null, assistantId: null }
    expect(snapshot.destinationsInScope(scope)).toEqual([])
  })
})

describe('many destinations of one scope', () => {
  it('load in time that grows with their number, not its square', () => {
    const load = (count: number) => {
      const rows = Array.from({ length: count }, (_, index) => destination({ id: `dst_${index}` }))
      const startedAtMs = performance.now()
      createSnapshot().apply({ ...NOTHING, destinations: rows })
      return performance.now() - startedAtMs
    }
    load(20_000)
    // Copying the list at each row took half a minute for these.
    expect(load(40_000)).toBeLessThan(5_000)
  }, 60_000)
})
