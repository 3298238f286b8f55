import { DEFAULT_RETRY } from '../delivery/retry-policy.ts'
import { VOICE_EVENT_TYPES } from '../event.ts'
import type { KeyRing } from '../secrets.ts'
import {
  type DestinationFields,
  deleteDestination,
  type ImpliedBy,
  insertDestination,
} from './destinations.ts'
import type { Transaction } from './transaction.ts'

type Kind = NonNullable<ImpliedBy>

/** What a URL field of an assistant or number stands for. */
const KINDS = {
  assistant_sms: {
    title: 'messages',
    format: 'burki',
    eventTypes: ['sms_received', 'mms_received'],
    successRule: '2xx',
  },
  assistant_voice: {
    title: 'voice',
    format: 'burki',
    eventTypes: VOICE_EVENT_TYPES,
    successRule: '2xx',
  },
  phone_number: {
    title: 'messages',
    format: 'pbx',
    eventTypes: ['sms_received', 'mms_received'],
    successRule: 'exact_200',
  },
} as const satisfies Record<
  Kind,
  Pick<DestinationFields, 'format' | 'eventTypes' | 'successRule'> & { title: string }
>

export const DESTINATION_DEFAULTS = {
  filter: null,
  skipStale: false,
  timeoutMs: 10_000,
  retry: DEFAULT_RETRY,
  rateLimitPerSecond: null,
  maxConcurrency: 50,
  freshnessSeconds: null,
  headers: {},
  status: 'active',
} as const satisfies Partial<DestinationFields>

const MAX_NAME_LENGTH = 200

export type ImpliedTarget = { readonly url: string | null; readonly fallbackEmail: string | null }

export type ImpliedOwner = {
  readonly organizationId: string
  readonly name: string
  readonly scope:
    | { readonly assistantId: number; readonly phoneNumber: null }
    | { readonly assistantId: null; readonly phoneNumber: string }
}

/** The one destination of this kind that the owner has, locked. Its unique index makes sure there is one at most. */
async function lockImplied(
  tx: Transaction,
  { organizationId, scope }: ImpliedOwner,
  kind: Kind,
): Promise<{ id: string } | undefined> {
  const query = tx
    .selectFrom('destinations')
    .select('id')
    .where('organization_id', '=', organizationId)
    .where('implied_by', '=', kind)
    .where('deleted_at', 'is', null)
  const ofOwner =
    scope.phoneNumber === null
      ? query.where('assistant_id', '=', scope.assistantId)
      : query.where('phone_number', '=', scope.phoneNumber)
  return await ofOwner.forUpdate().executeTakeFirst()
}

/**
 * Makes, changes or deletes the destination that a URL field stands for, in the transaction that changes the field.
 * Only what changed since `before` is taken over: the rest of it can be set under /api/v1/destinations and stays.
 */
export async function syncImpliedDestination(
  tx: Transaction,
  ring: KeyRing,
  owner: ImpliedOwner,
  kind: Kind,
  before: ImpliedTarget,
  after: ImpliedTarget,
): Promise<void> {
  if (before.url === after.url && before.fallbackEmail === after.fallbackEmail) return
  const existing = await lockImplied(tx, owner, kind)
  if (after.url === null) {
    if (existing !== undefined) await deleteDestination(tx, existing.id)
    return
  }
  const { title, ...ofKind } = KINDS[kind]
  const { url, fallbackEmail } = after
  if (existing === undefined) {
    const name = `${owner.name.slice(0, MAX_NAME_LENGTH - title.length - 3)} (${title})`
    const fields = { ...DESTINATION_DEFAULTS, ...ofKind, ...owner.scope, name, url, fallbackEmail }
    await insertDestination(tx, ring, owner.organizationId, fields, kind)
    return
  }
  await tx
    .updateTable('destinations')
    .set({
      ...(before.url === url ? {} : { url }),
      ...(before.fallbackEmail === fallbackEmail ? {} : { fallback_email: fallbackEmail }),
    })
    .where('id', '=', existing.id)
    .execute()
}
