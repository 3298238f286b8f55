/** The tables of migration 0007, for schema.test.ts. */
export const MAIL_TABLES = {
  mail_windows: {
    destination_id: 'text',
    recipient: 'text',
    started_at: 'timestamptz',
    mails: 'int4',
  },
  mail_digests: {
    id: 'text',
    organization_id: 'text',
    destination_id: 'text',
    recipient: 'text',
    state: 'text',
    due_at: 'timestamptz',
    next_try_at: 'timestamptz',
    tries: 'int4',
  },
  fallback_mails: {
    delivery_id: 'text',
    delivery_created_at: 'timestamptz',
    recipient: 'text',
    digest_id: 'text null',
    is_listed: 'bool',
    claimed_at: 'timestamptz',
  },
  used_replay_links: { subject: 'text', used_at: 'timestamptz' },
  operator_notices: { day: 'text', sent_at: 'timestamptz' },
} as const
