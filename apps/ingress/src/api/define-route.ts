import type { ApiKey } from '@switchhook/core/routing/snapshot'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { ApiError, notFound } from './api-error.ts'
import type { Dialect } from './dialects.ts'
import { parseInput } from './validation.ts'

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'

/** The scope a key needs (`admin` covers all, `write` covers `read`), or the one key that may create organizations. */
export type Access = 'read' | 'write' | 'admin' | 'admin_api_key'

/** `body` becomes JSON; without it the answer is empty. */
export type ApiAnswer = {
  readonly status: number
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export type AnswerSpec = { readonly description: string; readonly schema?: z.ZodType }

type Shape<P, Q, B> = {
  readonly method: Method
  /** For what waits for somebody else, like a provider's API; 2.8 s unless given. */
  readonly deadlineMs?: number
  /** In OpenAPI's spelling: `/api/v1/destinations/{id}`. */
  readonly path: string
  readonly summary: string
  readonly params?: z.ZodType<P>
  /** What the id in the path names (`Destination`): params of a wrong form are then a 404 like an unknown id, else a 422. */
  readonly names?: string
  /** Without it a query of any kind is refused. */
  readonly query?: z.ZodType<Q>
  /** Without it a body other than `{}` is refused. */
  readonly body?: z.ZodType<B>
  /** 256 KiB unless given. */
  readonly maxBodyBytes?: number
  /** Whose key header and error shape it has; the management API's own unless given. */
  readonly dialect?: Dialect
  /** The answers of its own; those that every route gives (401, 403, 429, …) are added by openapi-document.ts. */
  readonly answers: Readonly<Record<number, AnswerSpec>>
}

/** Where a request came from, as far as it can be told. */
export type Client = { readonly ipAddress: string | null; readonly userAgent: string | null }

type Parsed<P, Q, B> = {
  readonly deps: ApiDeps
  readonly client: Client
  readonly params: P
  readonly query: Q
  readonly body: B
}

export type RouteInput<P, Q, B> = Parsed<P, Q, B> & {
  readonly organizationId: string
  readonly apiKey: ApiKey
}

export type RouteSpec<P, Q, B> = Shape<P, Q, B> & {
  readonly access: Exclude<Access, 'admin_api_key'>
  readonly handle: (input: RouteInput<P, Q, B>) => Promise<ApiAnswer>
}

export type AdminRouteSpec<P, Q, B> = Shape<P, Q, B> & {
  readonly handle: (input: Parsed<P, Q, B>) => Promise<ApiAnswer>
}

/** A request past authentication, nothing of it validated yet. `body` is undefined when there was none. */
export type RawInput = {
  readonly deps: ApiDeps
  readonly client: Client
  readonly params: unknown
  readonly query: unknown
  readonly body: unknown
}

/** A route as the router and the OpenAPI document see it, whatever its types. */
export type Route = Omit<Shape<unknown, unknown, unknown>, 'params' | 'query' | 'body'> & {
  readonly access: Access
  readonly params?: z.ZodType
  readonly query?: z.ZodType
  readonly body?: z.ZodType
  /** Validates and handles. Throws `ApiError`. `apiKey` is undefined only where the access is `admin_api_key`. */
  readonly run: (input: RawInput, apiKey: ApiKey | undefined) => Promise<ApiAnswer>
}

const nothing = z.strictObject({})
const noBody = nothing.optional()

/** A part of the request without a schema is checked for emptiness; its type parameter is then `undefined`. */
function parsePart<T>(
  schema: z.ZodType<T> | undefined,
  fallback: z.ZodType,
  value: unknown,
  where: 'query' | 'body',
): T {
  if (schema !== undefined) return parseInput(schema, value, where)
  parseInput(fallback, value, where)
  return undefined as T
}

function parseParams<P>({ params, names }: Shape<P, unknown, unknown>, value: unknown): P {
  if (params === undefined) return undefined as P
  try {
    return parseInput(params, value, 'path')
  } catch (error) {
    if (names !== undefined && error instanceof ApiError) throw notFound(names)
    throw error
  }
}

function parseRequest<P, Q, B>(shape: Shape<P, Q, B>, input: RawInput): Parsed<P, Q, B> {
  const params = parseParams(shape as Shape<P, unknown, unknown>, input.params)
  const query = parsePart(shape.query, nothing, input.query, 'query')
  const isBodyOptional = shape.body === undefined || shape.body.safeParse(undefined).success
  if (input.body === undefined && !isBodyOptional)
    throw new ApiError(400, 'A JSON body is required')
  const body = parsePart(shape.body, noBody, input.body, 'body')
  return { deps: input.deps, client: input.client, params, query, body }
}

/** A route of the management API. Its types follow from its schemas: `handle` sees only what they let through. */
export function defineRoute<P = undefined, Q = undefined, B = undefined>(
  spec: RouteSpec<P, Q, B>,
): Route {
  const { handle, ...shape } = spec
  return {
    ...shape,
    async run(input, apiKey) {
      if (apiKey === undefined) throw new Error(`${spec.path} was reached without an API key`)
      const { organizationId } = apiKey
      return await handle({ ...parseRequest(spec, input), organizationId, apiKey })
    },
  }
}

/** A route for the holder of ADMIN_API_KEY, who belongs to no organization. */
export function defineAdminRoute<P = undefined, Q = undefined, B = undefined>(
  spec: AdminRouteSpec<P, Q, B>,
): Route {
  const { handle, ...shape } = spec
  return {
    ...shape,
    access: 'admin_api_key',
    run: async (input) => await handle(parseRequest(spec, input)),
  }
}
