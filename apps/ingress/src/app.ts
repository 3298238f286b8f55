import { STATUS_CODES } from 'node:http'
import type { Logger } from '@switchhook/core/log'
import type { Router } from 'express'
import express, { type Express, type NextFunction, type Request, type Response } from 'express'
import { guardHeaders } from './header-guard.ts'

export type AppDeps = {
  /** The routers that this ingress serves (INGRESS_SERVES), in order. */
  readonly routers: readonly Router[]
  /** CIDRs whose X-Forwarded-For is believed. */
  readonly trustedProxies: readonly string[]
  /** While the process drains, clients are told not to reuse their connection. */
  readonly isDraining: () => boolean
  readonly log: Logger
}

/** What a body parser's error means for the sender; anything else is ours. */
const BODY_ERRORS: Readonly<Record<string, readonly [status: number, detail: string]>> = {
  'entity.too.large': [413, 'The body is too large.'],
  'encoding.unsupported': [415, 'Compressed bodies are not accepted.'],
  'charset.unsupported': [415, 'The charset is not supported.'],
  'entity.parse.failed': [400, 'The body is not valid JSON.'],
  'request.aborted': [400, 'The request was cut off.'],
  'request.size.invalid': [400, 'The body is not as long as Content-Length says.'],
}

function bodyErrorOf(error: unknown): readonly [number, string] | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  if (error instanceof URIError) return [404, 'Not Found']
  const known = 'type' in error ? BODY_ERRORS[String(error.type)] : undefined
  if (known !== undefined) return known
  // Static files: a range that is none, a precondition that does not hold.
  const status = 'status' in error ? Number(error.status) : 500
  return status >= 400 && status < 500 ? [status, STATUS_CODES[status] ?? 'Bad Request'] : undefined
}

/** Every route, and the only error handler: input never makes a 5xx, an answer never tells an internal. */
export function createApp(deps: AppDeps): Express {
  const app = express()
  app.disable('x-powered-by')
  app.set('etag', false)
  app.set('query parser', 'simple')
  app.enable('case sensitive routing')
  app.set('trust proxy', [...deps.trustedProxies])

  app.use((_request: Request, response: Response, next: NextFunction) => {
    if (deps.isDraining()) response.set('connection', 'close')
    next()
  })
  app.use(guardHeaders)
  for (const router of deps.routers) app.use(router)
  app.use((_request: Request, response: Response) => {
    response.status(404).json({ detail: 'Not Found' })
  })
  app.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    if (response.headersSent) {
      response.destroy()
      return
    }
    const [status, detail] = bodyErrorOf(error) ?? [500, 'Internal Server Error']
    if (status === 500) deps.log.error({ error }, 'request.failed')
    if (status === 413) response.set('connection', 'close')
    response.status(status).json({ detail })
  })
  return app
}
