import type { EventType } from '../event.ts'

/** Our type ↔ Kudosity's `event_type`. RCS_* and WHATSAPP_* have no type of ours: they are `unknown` here. */
export const KUDOSITY_TYPES = {
  sms_received: 'SMS_INBOUND',
  mms_received: 'MMS_INBOUND',
  sms_status: 'SMS_STATUS',
  mms_status: 'MMS_STATUS',
  link_hit: 'LINK_HIT',
  opt_out: 'OPT_OUT',
} as const satisfies Partial<Record<EventType, string>>

type KudosityType = (typeof KUDOSITY_TYPES)[keyof typeof KUDOSITY_TYPES]

const NAMES: Partial<Record<EventType, KudosityType>> = KUDOSITY_TYPES
const TYPES = new Map<string, EventType>(
  Object.entries(KUDOSITY_TYPES).map(([type, name]) => [name, type as EventType]),
)

/** Kudosity's name; for a type that Kudosity has not, ours in capitals: "CALL_ENDED". */
export function kudosityNameOf(type: EventType): string {
  return NAMES[type] ?? type.toUpperCase()
}

/** Our type of one of Kudosity's own six names; undefined for any other. */
export function typeOfKudosityName(name: string): EventType | undefined {
  return TYPES.get(name)
}
