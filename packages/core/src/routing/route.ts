import type { Destination, EventType } from '../event.ts'
import type { Scope, Snapshot } from './snapshot.ts'

/** A destination wants a type when it names it, or all; a disabled one wants nothing. A paused one does: its deliveries wait. */
function wants(destination: Destination, type: EventType): boolean {
  if (destination.status === 'disabled') return false
  return destination.eventTypes.includes('*') || destination.eventTypes.includes(type)
}

/** The destinations an event is owed to, each once; none is a valid answer: the event is kept, unrouted. */
export function route(snapshot: Snapshot, scope: Scope, type: EventType): readonly Destination[] {
  return snapshot
    .destinationsInScope(scope)
    .filter(
      (destination) =>
        destination.organizationId === scope.organizationId && wants(destination, type),
    )
}
