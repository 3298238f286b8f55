import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import { type NextFunction, type Request, type Response, Router, raw } from 'express'
import {
  type AcceptWebhookDeps,
  acceptTwilioWebhook,
  FORGED_DETAIL,
  STATUS,
  type WebhookResult,
} from './accept-webhook.ts'
import { MAX_BODY_BYTES } from './http-server.ts'

export type WebhookRouterDeps = AcceptWebhookDeps & {
  readonly publicBaseUrl: string
  readonly metrics: Pick<Metrics, 'webhooksReceived' | 'verifyFailures' | 'acceptDuration'>
  readonly log: Logger
}

const TWILIO_PATHS = ['/twilio-sms-webhook', '/webhooks/sms/twilio']
const EMPTY = Buffer.alloc(0)

function send(response: Response, result: WebhookResult): void {
  response.status(STATUS[result.kind])
  switch (result.kind) {
    case 'accepted':
    case 'duplicate': {
      const { status, contentType, body } = result.answer
      response.status(status)
      if (contentType !== null) response.set('content-type', contentType)
      response.end(body)
      return
    }
    case 'forged':
      response.json({ detail: FORGED_DETAIL[result.reason] })
      return
    case 'malformed':
      response.json({ detail: result.detail })
      return
    case 'too_many_parameters':
      response.json({ detail: 'More parameters than any provider sends.' })
      return
    case 'unsupported_media_type':
      response.json({ detail: 'Twilio posts application/x-www-form-urlencoded.' })
      return
    case 'unavailable':
      response.set('retry-after', '1')
      response.json({ detail: 'Not stored, please send it again.' })
  }
}

/** One line per webhook, with every id that a person may search for; no number, no body. */
function logResult(log: Logger, result: WebhookResult, durationMs: number): void {
  const fields = { provider: 'twilio', outcome: result.kind, duration_ms: Math.round(durationMs) }
  if (result.kind === 'accepted' || result.kind === 'duplicate') {
    const { id, organizationId, type } = result.event
    log.info(
      { ...fields, event_id: id, organization_id: organizationId, type },
      `webhook.${result.kind}`,
    )
  } else if (result.kind === 'unavailable') log.error(fields, 'webhook.unavailable')
  else
    log.info('reason' in result ? { ...fields, reason: result.reason } : fields, 'webhook.refused')
}

/** The routes that providers call: raw bytes in, a verified event made durable, the provider's own kind of answer out. */
export function createWebhookRouter(deps: WebhookRouterDeps): Router {
  const { metrics, log } = deps
  const router = Router({ caseSensitive: true })

  async function handleTwilio(request: Request, response: Response): Promise<void> {
    const startedAtMs = performance.now()
    const result = await acceptTwilioWebhook(deps, {
      method: request.method,
      // As Twilio was told to call it; never from Host, which the sender chooses.
      url: deps.publicBaseUrl + request.originalUrl,
      headers: request.headers,
      body: Buffer.isBuffer(request.body) ? request.body : EMPTY,
    })
    send(response, result)
    const durationMs = performance.now() - startedAtMs
    metrics.webhooksReceived.inc({ provider: 'twilio', outcome: result.kind })
    metrics.acceptDuration.observe({ provider: 'twilio' }, durationMs / 1000)
    if (result.kind === 'forged') {
      metrics.verifyFailures.inc({ provider: 'twilio', reason: result.reason })
    }
    logResult(log, result, durationMs)
  }

  // inflate: false answers 415 to a compressed body: a provider signs what it sent, and a bomb is never unpacked.
  const readBody = raw({ type: () => true, limit: MAX_BODY_BYTES, inflate: false })
  const refuseMethod = (_request: Request, response: Response, _next: NextFunction): void => {
    response.status(405).set('allow', 'POST').json({ detail: 'Method Not Allowed' })
  }
  for (const path of TWILIO_PATHS) {
    router.route(path).post(readBody, handleTwilio).all(refuseMethod)
  }
  return router
}
