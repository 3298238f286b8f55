import type { Destination, DestinationFilter } from '../event.ts'
import type { EventContent } from '../providers/provider.ts'
import type { Scope, Snapshot } from './snapshot.ts'

/** What a destination's choice depends on. */
export type RouteFacts = Pick<
  EventContent,
  'type' | 'phoneNumber' | 'status' | 'messageStatus' | 'messageRef' | 'campaignId' | 'data'
>

/** Kudosity writes numbers without a plus. */
const bare = (phoneNumber: string): string => phoneNumber.replace(/^\+/, '')

/** Any of the values in a list, all of the lists; an empty list asks for nothing. */
function passes(filter: DestinationFilter, facts: RouteFacts): boolean {
  const holds = (wanted: readonly string[] | undefined, isValue: (one: string) => boolean) =>
    wanted === undefined || wanted.length === 0 || wanted.some(isValue)
  const sender = bare(facts.phoneNumber ?? '')
  // Of Kudosity's types that we do not know, only those that were asked for by name.
  const isNamed = (one: string) => facts.type !== 'unknown' || one === facts.data.event_type
  const isStatus = (one: string) =>
    one.toUpperCase() === facts.messageStatus || one.toLowerCase() === facts.status.toLowerCase()
  return (
    holds(filter.event_type, isNamed) &&
    holds(filter.sender, (one) => bare(one) === sender) &&
    // Only statuses have one: it keeps nothing else back.
    (facts.messageStatus === null || holds(filter.status, isStatus)) &&
    holds(filter.message_ref, (one) => one === facts.messageRef) &&
    holds(filter.campaign_id, (one) => one === facts.campaignId)
  )
}

/** A destination wants a type when it names it, or all; a disabled one wants nothing. A paused one does: its deliveries wait. */
function wants(destination: Destination, facts: RouteFacts): boolean {
  const { status, eventTypes, filter } = destination
  if (status === 'disabled') return false
  // For the organization's own destination for them alone: what names itself or all may be a customer's.
  if (facts.type === 'operational') return false
  if (!eventTypes.includes('*') && !eventTypes.includes(facts.type)) return false
  return filter === null || passes(filter, facts)
}

/** The destinations an event is owed to, each once; none is a valid answer: the event is kept, unrouted. */
export function route(snapshot: Snapshot, scope: Scope, facts: RouteFacts): readonly Destination[] {
  return snapshot
    .destinationsInScope(scope)
    .filter(
      (destination) =>
        destination.organizationId === scope.organizationId && wants(destination, facts),
    )
}
