import { describe, expect, it } from 'vitest'
import { sampleDestination } from '../../test/sample-event.ts'
import type { Destination, EventType } from '../event.ts'
import { type RouteFacts, route } from './route.ts'
import { createSnapshot, type Scope } from './snapshot.ts'

type Row = Partial<Destination> & { readonly id: string; readonly isDeleted?: boolean }

function snapshotOf(...rows: readonly Row[]) {
  const snapshot = createSnapshot()
  const apply = (...changed: readonly Row[]) =>
    snapshot.apply({
      organizations: [],
      apiKeys: [],
      providerAccounts: [],
      assistants: [],
      phoneNumbers: [],
      destinations: changed.map((row) => ({
        ...sampleDestination(),
        version: 1,
        isDeleted: false,
        ...row,
      })),
    })
  apply(...rows)
  return {
    apply,
    ids: (
      scope: Partial<Scope>,
      type: EventType = 'sms_received',
      facts: Partial<RouteFacts> = {},
    ) => {
      const whole = { organizationId: 'org_a', phoneNumber: null, assistantId: null, ...scope }
      const nothing = { status: '', messageStatus: null, messageRef: '', campaignId: '', data: {} }
      const { phoneNumber } = whole
      return route(snapshot, whole, { ...nothing, type, phoneNumber, ...facts }).map(({ id }) => id)
    },
    find: snapshot.findDestination,
  }
}

describe('the scope of a destination', () => {
  const { ids } = snapshotOf(
    { id: 'dst_number', phoneNumber: '+1' },
    { id: 'dst_assistant', assistantId: 5 },
    { id: 'dst_both', phoneNumber: '+1', assistantId: 5 },
    { id: 'dst_all' },
  )

  it('is its number, else its assistant, else the whole organization', () => {
    expect(ids({ phoneNumber: '+1', assistantId: 5 }).sort()).toEqual(
      ['dst_number', 'dst_assistant', 'dst_both', 'dst_all'].sort(),
    )
    expect(ids({ phoneNumber: '+1' }).sort()).toEqual(['dst_all', 'dst_both', 'dst_number'])
    expect(ids({ phoneNumber: '+2', assistantId: 5 }).sort()).toEqual(['dst_all', 'dst_assistant'])
    expect(ids({ phoneNumber: '+2', assistantId: 6 })).toEqual(['dst_all'])
    expect(ids({})).toEqual(['dst_all'])
  })

  it('never reaches into another organization, not by the same number or assistant', () => {
    expect(ids({ organizationId: 'org_b', phoneNumber: '+1', assistantId: 5 })).toEqual([])
  })

  it('cannot be made to overlap by what a number or an organization is called', () => {
    const named = snapshotOf({ id: 'dst_x', organizationId: 'org_a b', phoneNumber: '+1' })
    expect(named.ids({ organizationId: 'org_a', phoneNumber: 'b +1' })).toEqual([])
  })
})

describe('a destination that changes', () => {
  it('moves from scope to scope and is found once', () => {
    const { apply, ids } = snapshotOf({ id: 'dst_1', phoneNumber: '+1' })
    apply({ id: 'dst_1', phoneNumber: '+2' })
    expect(ids({ phoneNumber: '+1' })).toEqual([])
    expect(ids({ phoneNumber: '+2' })).toEqual(['dst_1'])
    apply({ id: 'dst_1', assistantId: 5 })
    expect(ids({ phoneNumber: '+2' })).toEqual([])
    expect(ids({ phoneNumber: '+2', assistantId: 5 })).toEqual(['dst_1'])
    apply({ id: 'dst_1' }, { id: 'dst_1' })
    expect(ids({ assistantId: 5 })).toEqual(['dst_1'])
  })

  it('that is deleted gets nothing more, and leaves the others in place', () => {
    const { apply, ids, find } = snapshotOf({ id: 'dst_1' }, { id: 'dst_2' })
    apply({ id: 'dst_1', isDeleted: true })
    expect(ids({})).toEqual(['dst_2'])
    expect(find('dst_1')).toBeUndefined()
    apply({ id: 'dst_never', isDeleted: true })
    expect(ids({})).toEqual(['dst_2'])
  })

  it('shows its new settings at once', () => {
    const { apply, find } = snapshotOf({ id: 'dst_1', url: 'https://old.example/' })
    apply({ id: 'dst_1', url: 'https://new.example/' })
    expect(find('dst_1')?.url).toBe('https://new.example/')
  })
})

describe('what a destination wants', () => {
  it('is what it names, or everything', () => {
    const { ids } = snapshotOf(
      { id: 'dst_star', eventTypes: ['*'] },
      { id: 'dst_sms', eventTypes: ['sms_received', 'mms_received'] },
      { id: 'dst_calls', eventTypes: ['call_started'] },
    )
    expect(ids({}, 'mms_received')).toEqual(['dst_star', 'dst_sms'])
    expect(ids({}, 'call_started')).toEqual(['dst_star', 'dst_calls'])
    expect(ids({}, 'unknown')).toEqual(['dst_star'])
  })

  it('is nothing when it is disabled; a paused one’s deliveries wait', () => {
    const { ids } = snapshotOf(
      { id: 'dst_paused', status: 'paused' },
      { id: 'dst_disabled', status: 'disabled' },
    )
    expect(ids({})).toEqual(['dst_paused'])
  })
})

describe('a filter', () => {
  const { ids } = snapshotOf(
    { id: 'dst_sender', filter: { sender: ['61491570017', '+61491570018'] } },
    { id: 'dst_status', filter: { status: ['DELIVERED', 'failed'] } },
    { id: 'dst_ref', filter: { message_ref: ['order-1'], campaign_id: ['c-1'] } },
    { id: 'dst_empty', filter: { sender: [], event_type: ['SMS_STATUS'] } },
  )
  const DELIVERED = { status: 'delivered', messageStatus: 'DELIVERED' } as const
  const SENT = { status: 'sent', messageStatus: 'SENT' } as const

  it('by sender knows a number with and without its plus', () => {
    expect(ids({ phoneNumber: '+61491570017' })).toContain('dst_sender')
    expect(ids({ phoneNumber: '61491570018' })).toContain('dst_sender')
    expect(ids({ phoneNumber: '+61491570019' })).not.toContain('dst_sender')
    expect(ids({})).not.toContain('dst_sender')
  })

  it('by status keeps other statuses back, and nothing that has none', () => {
    expect(ids({}, 'sms_status', DELIVERED)).toContain('dst_status')
    expect(ids({}, 'sms_status', { status: 'failed', messageStatus: 'FAILED' })).toContain(
      'dst_status',
    )
    expect(ids({}, 'sms_status', SENT)).not.toContain('dst_status')
    expect(ids({}, 'sms_received')).toContain('dst_status')
  })

  it('wants any value of a list, and all of the lists', () => {
    const both = { messageRef: 'order-1', campaignId: 'c-1' }
    expect(ids({}, 'sms_status', both)).toContain('dst_ref')
    expect(ids({}, 'sms_status', { ...both, campaignId: 'c-2' })).not.toContain('dst_ref')
    expect(ids({}, 'sms_status', { ...both, messageRef: '' })).not.toContain('dst_ref')
  })

  it('by Kudosity’s names lets no other type through that we do not know', () => {
    const named = snapshotOf({
      id: 'dst_rcs',
      filter: { event_type: ['RCS_STATUS', 'SMS_STATUS'] },
    })
    const unknown = (event_type: string) => named.ids({}, 'unknown', { data: { event_type } })
    expect(unknown('RCS_STATUS')).toEqual(['dst_rcs'])
    expect(unknown('WHATSAPP_STATUS')).toEqual([])
    expect(named.ids({}, 'sms_status', DELIVERED)).toEqual(['dst_rcs'])
  })

  it('that asks for nothing lets everything through', () => {
    expect(ids({ phoneNumber: '+1' }, 'sms_status', SENT)).toContain('dst_empty')
  })
})

describe('an operational event', () => {
  it('is routed to nobody: neither who wants all nor who names it is who the organization named', () => {
    const { ids } = snapshotOf(
      { id: 'dst_all', eventTypes: ['*'] },
      { id: 'dst_named', eventTypes: ['operational'] },
    )
    expect(ids({}, 'operational')).toEqual([])
    expect(ids({}, 'unknown')).toEqual(['dst_all'])
  })
})
