import { withDeadline } from '@switchhook/core/deadline'
import type { ApiKey } from '@switchhook/core/routing/snapshot'
import { isStoreUnavailable } from '@switchhook/core/store/unavailable'
import express, { type Request, type Response, type Router } from 'express'
import type { ApiDeps } from './api-deps.ts'
import { ApiError } from './api-error.ts'
import { createAuthenticate } from './authenticate.ts'
import type { ApiAnswer, Route } from './define-route.ts'
import { createDocsRouter } from './docs-router.ts'
import { addressKey, createRateLimits } from './rate-limits.ts'
import { readJson } from './read-json.ts'
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

/** What an expected failure is answered with; undefined for a fault of ours, which app.ts answers and logs. */
function answerOf(error: unknown): ApiAnswer | undefined {
  if (error instanceof ApiError) {
    return { status: error.status, body: { detail: error.detail }, headers: error.headers }
  }
  if (!isStoreUnavailable(error)) return undefined
  return { status: 503, body: { detail: 'The database does not answer' }, headers: UNAVAILABLE }
}

/** `/a/{id}` → `/a/:id` */
const toExpressPath = (path: string): string => path.replaceAll(/\{(\w+)\}/g, ':$1')

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
      return authenticate(request, route.access)
    } catch (error) {
      const isUnknown = error instanceof ApiError && error.status === 401
      if (isUnknown) await limits.failedLogins(request, response, addressKey(request))
      throw error
    }
  }

  async function answer(route: Route, request: Request, response: Response): Promise<ApiAnswer> {
    if (!deps.isReady()) {
      return { status: 503, body: { detail: 'Not ready yet' }, headers: UNAVAILABLE }
    }
    const apiKey = await identify(route, request, response)
    await limits.byKey(request, response, apiKey?.id ?? 'admin')
    const body = route.method === 'get' ? undefined : await readJson(request, response)
    const { params, query } = request
    const input = { deps, params: { ...params }, query: { ...query }, body }
    return await withDeadline(route.run(input, apiKey), HANDLE_DEADLINE_MS, route.path)
  }

  const sorted = [...routes].sort(bySpecificity)
  for (const route of sorted) {
    router[route.method](toExpressPath(route.path), async (request, response) => {
      response.set(EVERY_ANSWER)
      try {
        send(response, await answer(route, request, response))
      } catch (error) {
        const expected = answerOf(error)
        if (expected === undefined) throw error
        if (expected.status === 503) {
          deps.log.warn({ error, method: route.method, path: route.path }, 'request.unavailable')
        }
        send(response, expected)
      }
    })
  }

  for (const path of new Set(sorted.map((route) => route.path))) {
    const methods = routes.filter((route) => route.path === path).map(({ method }) => method)
    const allow = [...methods, ...(methods.includes('get') ? ['head'] : [])]
    router.all(toExpressPath(path), (_request, response) => {
      response.set({ ...EVERY_ANSWER, allow: allow.join(', ').toUpperCase() })
      send(response, { status: 405, body: { detail: 'Method Not Allowed' } })
    })
  }

  router.use(createDocsRouter(routes))
  return router
}
