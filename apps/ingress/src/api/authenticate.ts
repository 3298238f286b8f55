import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { coversScope, isSecretOf, parseApiKey } from '@switchhook/core/api-key'
import type { ApiKey, Snapshot } from '@switchhook/core/routing/snapshot'
import { ApiError } from './api-error.ts'
import type { Access } from './define-route.ts'
import type { Dialect } from './dialects.ts'

/** Compared with when the id is unknown, so that an unknown key takes as long as a wrong one. */
const NO_KEY = Buffer.alloc(32)

export type Authenticate = (
  request: IncomingMessage,
  access: Access,
  dialect: Dialect,
) => ApiKey | undefined

/**
 * Who asks: an organization's key, or undefined for the holder of the admin key where only that one is good. Asks the
 * snapshot, never Postgres. Throws `ApiError` 401, or 403 for a key without the scope.
 */
export function createAuthenticate(snapshot: Snapshot, adminApiKey: string): Authenticate {
  const adminSha256 = hash('sha256', adminApiKey, 'buffer')

  function findKey(token: string, dialect: Dialect): ApiKey {
    const parsed = parseApiKey(token)
    const key = parsed === undefined ? undefined : snapshot.findApiKey(parsed.id)
    const isRight = isSecretOf(parsed?.secret ?? '', key?.secretSha256 ?? NO_KEY)
    if (key === undefined || !isRight || !snapshot.hasOrganization(key.organizationId)) {
      throw dialect.unauthenticated()
    }
    return key
  }

  return (request, access, dialect) => {
    const token = dialect.tokenOf(request)
    if (access === 'admin_api_key') {
      if (isSecretOf(token, adminSha256)) return undefined
      findKey(token, dialect)
      throw new ApiError(403, 'Only the admin API key may do this')
    }
    const key = findKey(token, dialect)
    if (!coversScope(key.scopes, access)) {
      throw new ApiError(403, `This API key lacks the scope "${access}"`)
    }
    return key
  }
}
