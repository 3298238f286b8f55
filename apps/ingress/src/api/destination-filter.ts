import type { DestinationFilter, EventType } from '@switchhook/core/event'
import { KUDOSITY_TYPES, typeOfKudosityName } from '@switchhook/core/formats/kudosity-types'
import { z } from 'zod'

const MAX_VALUES = 100
const MAX_VALUE_CHARACTERS = 200

/** Kudosity's names of events. Those without a type of ours are `unknown` here. */
const KUDOSITY_NAMES = [
  ...Object.values(KUDOSITY_TYPES),
  ...(['RCS_STATUS', 'RCS_INBOUND', 'WHATSAPP_STATUS', 'WHATSAPP_INBOUND'] as const),
] as const

export const kudosityNameSchema = z.enum(KUDOSITY_NAMES)

const valuesSchema = z.array(z.string().min(1).max(MAX_VALUE_CHARACTERS)).max(MAX_VALUES).optional()

/** Any of the values in a list, all of the lists; an empty list asks for nothing. */
export const filterSchema = z
  .strictObject({
    event_type: z
      .array(kudosityNameSchema)
      .max(MAX_VALUES)
      .optional()
      .describe("In Kudosity's names; sets event_types unless they are given too"),
    sender: valuesSchema.describe('The own number: who sent the message, or whom it came to'),
    status: valuesSchema.describe('Of status events only: DELIVERED, FAILED, …'),
    message_ref: valuesSchema,
    campaign_id: valuesSchema,
  })
  .nullable()

/** The types that a filter's names stand for; undefined when it names none. */
export function typesOfFilter(
  filter: DestinationFilter | null | undefined,
): EventType[] | undefined {
  const names = filter?.event_type ?? []
  if (names.length === 0) return undefined
  return [...new Set(names.map((name) => typeOfKudosityName(name) ?? 'unknown'))]
}

/** Without empty lists; null when nothing is left. */
export function compactFilter(filter: DestinationFilter | null): DestinationFilter | null {
  const lists = Object.entries(filter ?? {}).filter(([, values]) => values && values.length > 0)
  return lists.length === 0 ? null : Object.fromEntries(lists)
}
