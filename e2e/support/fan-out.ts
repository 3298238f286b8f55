import { waitFor } from '@switchhook/testing/wait-for'
import type { ApiDelivery } from './api.ts'
import { newMessageSid, type SmsOptions, sendSms } from './evidence.ts'
import type { Product } from './product.ts'
import { sendAgain } from './send-again.ts'
import type { DestinationSettings, Line, Tenant } from './tenant.ts'

export type FaultAttempt = ApiDelivery['attempts'][number] & {
  readonly attempted_at: string
  readonly response_body: string | null
  readonly error_message: string | null
  readonly response_time_ms: number
}

export type FaultDelivery = Omit<ApiDelivery, 'attempts'> & {
  readonly next_attempt_at: string | null
  readonly attempts: readonly FaultAttempt[]
}

/** One number and a destination for each fault: one message meets them all, and no circuit can open. */
export type FanOut = {
  readonly lines: readonly Line[]
  /** Sends one message; its deliveries in the order of the lines, as soon as `isReached` holds for all of them. */
  meet(
    isReached: (delivery: FaultDelivery) => boolean,
    timeoutMs: number,
    options?: SmsOptions,
  ): Promise<FaultDelivery[]>
}

const BATCH = 10

export const isSettled = ({ state }: FaultDelivery): boolean => state !== 'pending'

export async function createFanOut(
  product: Product,
  tenant: Tenant,
  settings: readonly DestinationSettings[],
): Promise<FanOut> {
  const [first, ...others] = settings
  if (first === undefined) throw new Error('no destination')
  const lines = [await tenant.addLine(first)]
  const { phoneNumber } = lines[0] as Line
  for (let made = 0; made < others.length; made += BATCH) {
    const batch = others.slice(made, made + BATCH)
    lines.push(...(await Promise.all(batch.map((one) => tenant.addDestination(phoneNumber, one)))))
  }

  return {
    lines,
    async meet(isReached, timeoutMs, options = {}) {
      const messageSid = newMessageSid()
      const { status } = await sendAgain(() =>
        sendSms(product, tenant, phoneNumber, { ...options, messageSid }),
      )
      if (status !== 200) throw new Error(`answered ${status}`)
      const path = `/api/v1/events/${tenant.eventIdOf(messageSid)}`
      return waitFor(
        async () => {
          const event = await tenant.api.call<{ deliveries: { id: string }[] }>('GET', path)
          if (event.deliveries.length !== lines.length) return undefined
          const deliveries: FaultDelivery[] = []
          for (const { id } of event.deliveries) {
            const one = await tenant.api.call<FaultDelivery>('GET', `/api/v1/deliveries/${id}`)
            if (!isReached(one)) throw new Error(`${one.destination_id} is ${one.state}`)
            deliveries.push(one)
          }
          return lines.map(({ destinationId }) => {
            const found = deliveries.find((one) => one.destination_id === destinationId)
            if (found === undefined) throw new Error(`nothing for ${destinationId}`)
            return found
          })
        },
        { timeoutMs, everyMs: 200, what: 'the faults to have struck' },
      )
    },
  }
}
