import type { Generated } from 'kysely'

/** What migration 0007 made, as `Database` has it. */
export type MailTables = {
  mail_windows: { destination_id: string; recipient: string; started_at: Date; mails: number }
  mail_digests: {
    id: string
    organization_id: string
    destination_id: string
    recipient: string
    state: 'gathering' | 'sending' | 'sent' | 'failed'
    due_at: Date
    next_try_at: Date
    tries: Generated<number>
  }
  fallback_mails: {
    delivery_id: string
    delivery_created_at: Date
    recipient: string
    digest_id: string | null
    is_listed: Generated<boolean>
    claimed_at: Date
  }
  used_replay_links: { subject: string; used_at: Date }
  operator_notices: { day: string; sent_at: Date }
}
