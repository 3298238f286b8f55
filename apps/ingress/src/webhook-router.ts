import { hash } from 'node:crypto'
import { parse as parseQuery } from 'node:querystring'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import type { WebhookProvider } from '@switchhook/core/providers/provider'
import { WEBHOOK_PROVIDERS } from '@switchhook/core/providers/registry'
import type { ProviderAccount } from '@switchhook/core/routing/snapshot'
import { type Request, type Response, Router, raw } from 'express'
import {
  type AcceptWebhookDeps,
  acceptWebhook,
  STATUS,
  type WebhookResult,
} from './accept-webhook.ts'
import { MAX_BODY_BYTES } from './http-server.ts'

export type WebhookRouterDeps = AcceptWebhookDeps & {
  /** False once a sender has tried too many path tokens. */
  readonly mayGuess: (clientIp: string | null) => boolean
  readonly publicBaseUrl: string
  readonly metrics: Pick<Metrics, 'webhooksReceived' | 'verifyFailures' | 'acceptDuration'>
  readonly log: Logger
}

const EMPTY = Buffer.alloc(0)
const RETRY_AFTER_SECONDS = { unavailable: '1', failing_too_often: '60' }

function detailOf(result: Exclude<WebhookResult, { answer: unknown }>): string {
  switch (result.kind) {
    case 'forged':
    case 'malformed':
      return result.detail
    case 'failing_too_often':
      return 'Too many webhooks of this sender failed verification.'
    case 'too_many_parameters':
      return 'More parameters than any provider sends.'
    case 'method_not_allowed':
      return 'Method Not Allowed'
    case 'unsupported_media_type':
      return `The content type must be ${result.mediaTypes.join(' or ')}.`
    case 'unavailable':
      return 'Not stored, please send it again.'
  }
}

function send(response: Response, result: WebhookResult): void {
  if ('answer' in result) {
    const { status, contentType, body } = result.answer
    response.status(status)
    if (contentType !== null) response.set('content-type', contentType)
    response.end(body)
    return
  }
  if (result.kind === 'unavailable' || result.kind === 'failing_too_often') {
    response.set('retry-after', RETRY_AFTER_SECONDS[result.kind])
  }
  if (result.kind === 'method_not_allowed') response.set('allow', 'POST')
  response.status(STATUS[result.kind]).json({ detail: detailOf(result) })
}

/** One line per webhook, with every id that a person may search for; no number, no body, no token. */
function logResult(
  log: Logger,
  provider: WebhookProvider,
  result: WebhookResult,
  durationMs: number,
): void {
  const fields = {
    ...{ provider: provider.name, outcome: result.kind },
    duration_ms: Math.round(durationMs),
  }
  switch (result.kind) {
    case 'accepted':
    case 'duplicate':
      for (const { id, organizationId, type } of result.events) {
        const ids = { event_id: id, organization_id: organizationId, type }
        log.info({ ...fields, ...ids }, `webhook.${result.kind}`)
      }
      return
    case 'quarantined':
      log.info({ ...fields, organization_id: result.organizationId }, 'webhook.quarantined')
      return
    case 'unavailable':
      log.error(fields, 'webhook.unavailable')
      return
    default: {
      const reason = 'reason' in result ? { reason: result.reason } : {}
      log.info({ ...fields, ...reason }, 'webhook.refused')
    }
  }
}

/**
 * A PBX repeats its URL in every form. The token in it is all that makes its posts believed, so it is not kept; where
 * there is a signature the body stays what was signed, and the token is no secret.
 */
function withoutOwnToken(
  body: Buffer,
  account: ProviderAccount | undefined,
  token: unknown,
): Buffer {
  if (typeof token !== 'string' || account === undefined || account.verifyKeys.length > 0) {
    return body
  }
  if (!body.includes(token)) return body
  // latin1 keeps every byte.
  return Buffer.from(body.toString('latin1').replaceAll(token, '{token}'), 'latin1')
}

/** The route as it is listed, with the query but for what repeats the token, however either is spelled. */
function withoutToken(path: string, originalUrl: string, token: string): string {
  const start = originalUrl.indexOf('?')
  if (start === -1) return path
  const parts = originalUrl.slice(start + 1).split('&')
  const hasToken = (part: string): boolean =>
    Object.entries(parseQuery(part))
      .flat(2)
      .some((text) => text?.includes(token))
  return `${path}?${parts.map((part) => (hasToken(part) ? '{token}' : part)).join('&')}`
}

/** The routes that providers call: raw bytes in, verified events made durable, the provider's own kind of answer out. */
export function createWebhookRouter(deps: WebhookRouterDeps): Router {
  const { metrics, log, snapshot } = deps
  const router = Router({ caseSensitive: true })

  async function handle(
    provider: WebhookProvider,
    path: string,
    request: Request,
    response: Response,
  ): Promise<void> {
    const startedAtMs = performance.now()
    const token = request.params.token
    const account =
      typeof token === 'string'
        ? snapshot.findAccountByToken(hash('sha256', token, 'hex'))
        : undefined
    const clientIp = request.ip ?? null
    if (token !== undefined && account?.provider !== provider.name) {
      refuseToken(provider, clientIp, response)
      return
    }
    const { originalUrl } = request
    const target = typeof token === 'string' ? withoutToken(path, originalUrl, token) : originalUrl
    const webhook = {
      method: request.method,
      // As the provider was told to call it; never from Host, which the sender chooses.
      url: deps.publicBaseUrl + originalUrl,
      headers: request.headers,
      body: withoutOwnToken(Buffer.isBuffer(request.body) ? request.body : EMPTY, account, token),
      ...{ clientIp, account, tenantsOfCall: [], checkBasic: true },
    }
    const result = await acceptWebhook(deps, provider, webhook, target)
    send(response, result)
    const durationMs = performance.now() - startedAtMs
    metrics.webhooksReceived.inc({ provider: provider.name, outcome: result.kind })
    metrics.acceptDuration.observe({ provider: provider.name }, durationMs / 1000)
    if (result.kind === 'forged' || result.kind === 'failing_too_often') {
      metrics.verifyFailures.inc({ provider: provider.name, reason: result.reason })
    }
    logResult(log, provider, result, durationMs)
  }

  /** Guessing is bounded, and tells nothing: every wrong token is answered alike. */
  function refuseToken(
    provider: WebhookProvider,
    clientIp: string | null,
    response: Response,
  ): void {
    if (!deps.isReady()) {
      send(response, { kind: 'unavailable' })
      return
    }
    const fields = { provider: provider.name, outcome: 'unknown_token' } as const
    metrics.webhooksReceived.inc(fields)
    metrics.verifyFailures.inc({ provider: provider.name, reason: 'unknown_token' })
    log.info(fields, 'webhook.refused')
    if (deps.mayGuess(clientIp)) response.status(404).json({ detail: 'Not Found' })
    else send(response, { kind: 'failing_too_often', reason: 'unknown_account' })
  }

  // inflate: false answers 415 to a compressed body: a provider signs what it sent, and a bomb is never unpacked.
  const readBody = raw({ type: () => true, limit: MAX_BODY_BYTES, inflate: false })

  for (const provider of WEBHOOK_PROVIDERS) {
    const paths = new Set([...provider.routes.map(({ path }) => path), ...provider.probes])
    for (const path of paths) {
      const methods = provider.routes.filter((one) => one.path === path).map((one) => one.method)
      const isProbed = provider.probes.includes(path)
      const route = router.route(path.replace('{token}', ':token'))
      const takes = (request: Request, response: Response) =>
        handle(provider, path, request, response)
      // Express would run a GET handler for HEAD: a webhook it is not.
      if (isProbed) route.head((_request: Request, response: Response) => void response.end())
      if (isProbed) route.get((_request: Request, response: Response) => void response.end())
      // Twilio's signed GET is not advertised: whoever asks by GET what is allowed did not sign it.
      const taken = methods.includes('post') ? ['post'] : methods
      const allowed = isProbed ? [...taken, 'get', 'head'] : taken
      const refuseMethod = (_request: Request, response: Response): void => {
        response.status(405).set('allow', allowed.join(', ').toUpperCase())
        response.json({ detail: 'Method Not Allowed' })
      }
      if (!isProbed) route.head(refuseMethod)
      if (methods.includes('post')) route.post(readBody, takes)
      if (methods.includes('get')) route.get(takes)
      route.all(refuseMethod)
    }
  }
  return router
}
