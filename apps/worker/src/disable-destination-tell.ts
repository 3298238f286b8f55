import type { OwnerNotice } from '@switchhook/core/store/failing-destinations'
import { createNoticeMail } from './disable-destination-mail.ts'
import type { TellOperations } from './operational-events.ts'
import type { MailSender } from './send-mail.ts'

export type OwnerTellerDeps = {
  readonly sender: Pick<MailSender, 'send'>
  readonly tell: TellOperations
  readonly publicBaseUrl: string
}

/**
 * Tells the owner of a destination what became of it: as an event where operational ones are wanted, and by mail where
 * an address is known. False when the mail is to be tried again; the event has the same id then.
 */
export function createOwnerTeller(
  deps: OwnerTellerDeps,
): (notice: OwnerNotice) => Promise<boolean> {
  const publicBaseUrl = deps.publicBaseUrl.replace(/\/+$/, '')
  return async function tellOwner(notice) {
    const { id, kind, destinationId, reason, fallbackEmail, createdAtMs } = notice
    if (kind === 'disabled') {
      const change = { name: 'destination.disabled', destinationId, key: String(id) } as const
      const message = `The destination was disabled. ${reason}`
      await deps.tell([{ ...change, atMs: createdAtMs, message, data: { reason } }])
    }
    if (fallbackEmail === null) return true
    const mail = createNoticeMail(notice, fallbackEmail, publicBaseUrl)
    const { kind: outcome } = await deps.sender.send({ ...mail, payload: null })
    return outcome !== 'failed'
  }
}
