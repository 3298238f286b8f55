import { type Kysely, sql } from 'kysely'
import type { Database } from './database.ts'

/** How often an API key was used since it was last written down, and when for the last time. */
export type ApiKeyUse = {
  readonly apiKeyId: string
  readonly count: number
  readonly lastUsedAtMs: number
}

/** Adds to what is there. Keys that are no more are left out. */
export async function addApiKeyUses(
  db: Kysely<Database>,
  uses: readonly ApiKeyUse[],
): Promise<void> {
  // Sorted, so that two processes never wait for each other's rows in opposite order.
  const sorted = uses.toSorted((a, b) => (a.apiKeyId < b.apiKeyId ? -1 : 1))
  await sql`
    insert into api_key_uses as known (api_key_id, usage_count, last_used_at)
    select used.id, used.uses, used.at
      from unnest(${sorted.map(({ apiKeyId }) => apiKeyId)}::text[],
                  ${sorted.map(({ count }) => count)}::bigint[],
                  ${sorted.map(({ lastUsedAtMs }) => new Date(lastUsedAtMs))}::timestamptz[])
             with ordinality as used (id, uses, at, position)
      join api_keys on api_keys.id = used.id
     order by used.position
    on conflict (api_key_id) do update set
      usage_count = known.usage_count + excluded.usage_count,
      last_used_at = greatest(known.last_used_at, excluded.last_used_at)`.execute(db)
}
