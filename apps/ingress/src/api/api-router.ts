import { withDeadline } from '@switchhook/core/deadline'
import type { Logger } from '@switchhook/core/log'
import type { ApiKey } from '@switchhook/core/routing/snapshot'
import { isStoreUnavailable } from '@switchhook/core/store/unavailable'
import express, { type Request, type Response, type Router } from 'express'
import type { ApiDeps } from './api-deps.ts'
import { ApiError } from './api-error.ts'
import { createAuthenticate } from './authenticate.ts'
import type { ApiAnswer, Client, Route } from './define-route.ts'
import { bearerDialect, type Dialect } from './dialects.ts'
import { createDocsRouter } from './docs-router.ts'
import { addressKey, createRateLimits } from './rate-limits.ts'
import { MAX_BODY_BYTES, readJson } from './read-json.ts'
import { routes } from './routes.ts'

/** With Postgres away or frozen an answer comes within this time. */
const HANDLE_DEADLINE_MS = 2_800

const EVERY_ANSWER = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
}

const UNAVAILABLE = { 'retry-after': '1' }

function send(response: Response, { status, body, headers = {} }: ApiAnswer): void {
  response.status(status).set(headers)
  if (body === undefined) response.end()
  else response.type('application/json').send(JSON.stringify(body))
}

/** An expected failure; undefined for a fault of ours, and for what body-parser throws: app.ts answers and logs those. */
function toApiError(error: unknown): ApiError | undefined {
  if (error instanceof ApiError) return error
  if (!isStoreUnavailable(error)) return undefined
  return new ApiError(503, 'The database does not answer', UNAVAILABLE)
}

const MAX_USER_AGENT_CHARACTERS = 300

function clientOf(request: Request): Client {
  const userAgent = request.headers['user-agent']?.slice(0, MAX_USER_AGENT_CHARACTERS)
  return { ipAddress: request.ip ?? null, userAgent: userAgent ?? null }
}

/** `/a/{id}` → `/a/:id` */
const toExpressPath = (path: string): string => path.replaceAll(/\{(\w+)\}/g, ':$1')

const dialectOf = (route: Route): Dialect => route.dialect ?? bearerDialect

/** What app.ts does for everything else: the answers to unknown routes, bodies that cannot be read, and our own faults. */
function finishIn(router: Router, prefix: string, dialect: Dialect, log: Logger): void {
  const answer = (response: Response, status: number, text: string) => {
    // What was not read of a body must not be taken for the next request.
    response.set({ ...EVERY_ANSWER, ...(status === 400 ? { connection: 'close' } : {}) })
    send(response, dialect.answerOf(new ApiError(status, text)))
  }
  router.use(prefix, (_request: Request, response: Response) => {
    answer(response, 404, 'Not Found')
  })
  router.use(prefix, (error: unknown, _request: Request, response: Response, _next: unknown) => {
    const status = typeof error === 'object' && error && 'status' in error ? error.status : 500
    if (error instanceof URIError) answer(response, 404, 'Not Found')
    else if (Number(status) < 500) answer(response, 400, 'The body cannot be read as JSON')
    else {
      log.error({ error }, 'request.failed')
      answer(response, 500, 'Internal Server Error')
    }
  })
}

/** Literal segments before parameters, so that `/events/stream` is not taken for an event's id. */
function bySpecificity(a: Route, b: Route): number {
  const rank = (route: Route) => route.path.replaceAll('{', '\uffff')
  return rank(a) < rank(b) ? -1 : 1
}

/** The management API, its OpenAPI document and the page that shows it. */
export function createApiRouter(deps: ApiDeps): Router {
  const router = express.Router({ caseSensitive: true })
  const limits = createRateLimits(deps.rateLimitPerSecond)
  const authenticate = createAuthenticate(deps.snapshot, deps.adminApiKey)

  async function identify(
    route: Route,
    request: Request,
    response: Response,
  ): Promise<ApiKey | undefined> {
    try {
      return authenticate(request, route.access, dialectOf(route))
    } catch (error) {
      const isUnknown = error instanceof ApiError && error.status === 401
      if (isUnknown) await limits.failedLogins(request, response, addressKey(request))
      throw error
    }
  }

  async function answer(route: Route, request: Request, response: Response): Promise<ApiAnswer> {
    if (!deps.isReady()) throw new ApiError(503, 'Not ready yet', UNAVAILABLE)
    const apiKey = await identify(route, request, response)
    await limits.byKey(request, response, apiKey?.id ?? 'admin')
    if (apiKey !== undefined) deps.noteKeyUse(apiKey.id)
    const { maxBodyBytes = MAX_BODY_BYTES, deadlineMs = HANDLE_DEADLINE_MS } = route
    const body =
      route.method === 'get' ? undefined : await readJson(request, response, maxBodyBytes)
    const { params, query } = request
    const client = clientOf(request)
    const input = { deps, client, params: { ...params }, query: { ...query }, body }
    return await withDeadline(route.run(input, apiKey), deadlineMs, route.path)
  }

  const sorted = [...routes].sort(bySpecificity)
  for (const route of sorted) {
    router[route.method](toExpressPath(route.path), async (request, response) => {
      response.set(EVERY_ANSWER)
      try {
        send(response, await answer(route, request, response))
      } catch (error) {
        const expected = toApiError(error)
        if (expected === undefined) throw error
        if (expected.status === 503) {
          deps.log.warn({ error, method: route.method, path: route.path }, 'request.unavailable')
        }
        send(response, dialectOf(route).answerOf(expected))
      }
    })
  }

  for (const path of new Set(sorted.map((route) => route.path))) {
    const ofPath = routes.filter((route) => route.path === path)
    const methods = ofPath.map(({ method }) => method)
    const { answerOf } = ofPath[0]?.dialect ?? bearerDialect
    const allow = [...methods, ...(methods.includes('get') ? ['head'] : [])]
    router.all(toExpressPath(path), (_request, response) => {
      response.set({ ...EVERY_ANSWER, allow: allow.join(', ').toUpperCase() })
      send(response, answerOf(new ApiError(405, 'Method Not Allowed')))
    })
  }

  for (const dialect of new Set(routes.map(dialectOf))) {
    if (dialect.prefix !== null) finishIn(router, dialect.prefix, dialect, deps.log)
  }
  router.use(createDocsRouter(routes))
  return router
}
