import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { coversScope, isSecretOf, parseApiKey } from '@switchhook/core/api-key'
import type { ApiKey, Snapshot } from '@switchhook/core/routing/snapshot'
import { ApiError } from './api-error.ts'
import type { Access } from './define-route.ts'

const UNAUTHENTICATED = 'Authentication required. Provide a valid API key or login session.'

/** Compared with when the id is unknown, so that an unknown key takes as long as a wrong one. */
const NO_KEY = Buffer.alloc(32)

export type Authenticate = (request: IncomingMessage, access: Access) => ApiKey | undefined

function unauthenticated(): ApiError {
  return new ApiError(401, UNAUTHENTICATED, { 'www-authenticate': 'Bearer' })
}

function bearerToken(request: IncomingMessage): string {
  const [header, ...more] = request.headersDistinct.authorization ?? []
  const token = /^bearer +(\S+) *$/i.exec(header ?? '')?.[1]
  if (token === undefined || more.length > 0) throw unauthenticated()
  return token
}

/**
 * Who asks: an organization's key, or undefined for the holder of the admin key where only that one is good. Asks the
 * snapshot, never Postgres. Throws `ApiError` 401, or 403 for a key without the scope.
 */
export function createAuthenticate(snapshot: Snapshot, adminApiKey: string): Authenticate {
  const adminSha256 = hash('sha256', adminApiKey, 'buffer')

  function findKey(token: string): ApiKey {
    const parsed = parseApiKey(token)
    const key = parsed === undefined ? undefined : snapshot.findApiKey(parsed.id)
    const isRight = isSecretOf(parsed?.secret ?? '', key?.secretSha256 ?? NO_KEY)
    if (key === undefined || !isRight || !snapshot.hasOrganization(key.organizationId)) {
      throw unauthenticated()
    }
    return key
  }

  return (request, access) => {
    const token = bearerToken(request)
    if (access === 'admin_api_key') {
      if (isSecretOf(token, adminSha256)) return undefined
      findKey(token)
      throw new ApiError(403, 'Only the admin API key may do this')
    }
    const key = findKey(token)
    if (!coversScope(key.scopes, access)) {
      throw new ApiError(403, `This API key lacks the scope "${access}"`)
    }
    return key
  }
}
