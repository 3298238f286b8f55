import type { WebhookChange } from '@switchhook/core/store/webhook-changes'
import { z } from 'zod'
import type { AnswerSpec, ApiAnswer } from './define-route.ts'
import type { Asker } from './webhook-changes-settle.ts'

const waitingSchema = z.object({
  success: z.literal(false),
  change_id: z.string(),
  message: z.string(),
})

export const WAITING: { readonly 202: AnswerSpec } = {
  202: { description: 'It waits for approval by another API key', schema: waitingSchema },
}

export const needsApproval = ({ deps, organizationId }: Asker): boolean =>
  deps.snapshot.findOrganization(organizationId)?.needsChangeApproval === true

const detachedSchema = z.object({ detached_applications: z.array(z.string()).optional() })

/** The end of a message: which applications no longer decide for the number; empty for none. */
export function detachment({ after }: WebhookChange, verb: 'was' | 'will be'): string {
  const { detached_applications: sids = [] } = detachedSchema.parse(after ?? {})
  if (sids.length === 0) return ''
  const which = `application${sids.length > 1 ? 's' : ''} ${sids.join(' and ')}`
  return `; the number ${verb} detached from ${which}`
}

/** `what` begins with a capital: `change`. */
export function waitingAnswer(change: WebhookChange, what: 'change' | 'rollback'): ApiAnswer {
  const waits = `The ${what} of ${change.phoneNumber} waits for approval by another API key`
  const message = what === 'change' ? waits + detachment(change, 'will be') : waits
  return { status: 202, body: { success: false, change_id: change.id, message } }
}
