import type { EventContent } from './provider.ts'

/**
 * A call, or its recording, whose webhook does not say which way it went (Telnyx's `call.hangup`) is read as an incoming
 * one. When the tenant's number is the other of the two, it was outgoing: then the sides are exchanged. Messages always say.
 */
export function orientCall(content: EventContent, ownNumber: string | null): EventContent {
  const { type, phoneNumber, peerNumber, from, to, data } = content
  const mayTurn = /^(call|recording)_/.test(type) || type === 'unknown'
  if (!mayTurn || ownNumber === null || ownNumber === phoneNumber) return content
  if (ownNumber !== peerNumber) return content
  const customer = data.customer_phone_number
  return {
    ...content,
    phoneNumber: peerNumber,
    peerNumber: phoneNumber,
    data:
      customer === undefined
        ? data
        : { ...data, customer_phone_number: customer === from ? to : from },
  }
}
