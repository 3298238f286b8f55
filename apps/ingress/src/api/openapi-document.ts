import { z } from 'zod'
import type { Access, AnswerSpec, Route } from './define-route.ts'
import { kudosityDialect } from './dialects.ts'

type JsonObject = { [key: string]: unknown }

/** What every route may answer besides its own: description and the shape of its body. */
const SHARED_ANSWERS: Readonly<Record<number, readonly [string, 'Error' | 'ValidationError']>> = {
  401: ['No API key, or none that is known', 'Error'],
  403: ['The API key lacks the scope', 'Error'],
  422: ['The request is not valid', 'ValidationError'],
  429: ['Too many requests with this key; see Retry-After', 'Error'],
  503: ['Not ready, or the database is away; see Retry-After', 'Error'],
}

const BODY_ANSWERS: typeof SHARED_ANSWERS = {
  400: ['The body is missing or not JSON', 'Error'],
  413: ['The body is too large: 256 KiB unless said otherwise', 'Error'],
  415: ['The body is not application/json, or compressed', 'Error'],
}

const error = z
  .object({ detail: z.string() })
  .meta({ id: 'Error', description: 'What went wrong, for a person' })

const kudosityError = z
  .object({ error: z.string() })
  .meta({ id: 'KudosityError', description: 'What went wrong, as Kudosity says it' })

const validationError = z
  .object({
    detail: z.array(
      z.object({
        loc: z.array(z.union([z.string(), z.int()])),
        msg: z.string(),
        type: z.string(),
      }),
    ),
  })
  .meta({ id: 'ValidationError', description: 'Up to 20 findings, each with its place' })

const ACCESS_NOTES: Readonly<Record<Access, string>> = {
  read: 'Scope: `read`.',
  write: 'Scope: `write`.',
  admin: 'Scope: `admin`.',
  admin_api_key: 'For the holder of `ADMIN_API_KEY` only.',
}

/** Whatever is wrong with a request is a 400 there. */
const NOT_IN_KUDOSITY: ReadonlySet<string> = new Set(['413', '415', '422'])

const refTo = (name: string): JsonObject => ({ $ref: `#/components/schemas/${name}` })
const json = (schema: JsonObject, more: JsonObject = {}): JsonObject => ({
  'application/json': { schema, ...more },
})

const VERSION = /^\/(api\/)?v\d+/

/** `get /api/v1/destinations/{id}` → `getDestinationsById` */
function operationId({ method, path }: Route): string {
  const words = path
    .replace(VERSION, '')
    .replaceAll(/\{(\w+)\}/g, 'by-$1')
    .split(/[^A-Za-z0-9]+/)
  // A route of Burki's that has two paths.
  const short = VERSION.test(path) ? '' : 'Short'
  return method + short + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')
}

/** The heading a route stands under: `/api/v1/api-keys/{id}` → `api-keys`. */
function tagOf({ path }: Route): string {
  const [, first = ''] = path.replace(VERSION, '').split('/')
  return first === 'organization' ? 'organizations' : first
}

/** Schemas by the name they get in the document; one that is used twice is there once. */
function createNames() {
  const inputs = z.registry<{ id: string }>()
  const outputs = z.registry<{ id: string }>()
  function name(registry: typeof inputs, schema: z.ZodType, fallback: string): JsonObject {
    const id = registry.get(schema)?.id ?? schema.meta()?.id ?? fallback
    if (!registry.has(schema)) registry.add(schema, { id })
    return refTo(id)
  }
  function schemasOf(registry: typeof inputs, io: 'input' | 'output'): JsonObject {
    const uri = (id: string) => `#/components/schemas/${id}`
    const { schemas } = z.toJSONSchema(registry, { io, uri, unrepresentable: 'any' })
    return Object.fromEntries(
      Object.entries(schemas).map(([id, { $schema: _, $id: __, id: ___, ...schema }]) => [
        id,
        schema,
      ]),
    )
  }
  return {
    input: (schema: z.ZodType, fallback: string) => name(inputs, schema, fallback),
    output: (schema: z.ZodType, fallback: string) => name(outputs, schema, fallback),
    schemas: () => ({ ...schemasOf(inputs, 'input'), ...schemasOf(outputs, 'output') }),
  }
}

type Names = ReturnType<typeof createNames>

/** The properties of a params or query schema, one parameter each. */
function parametersOf(schema: z.ZodType | undefined, where: 'path' | 'query'): JsonObject[] {
  if (schema === undefined) return []
  const { properties = {}, required = [] } = z.toJSONSchema(schema, {
    io: 'input',
    unrepresentable: 'any',
  })
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: where,
    required: where === 'path' || required.includes(name),
    schema: property,
  }))
}

/** `.meta({ examples: […] })` of a body: the page offers the first one to try. Without, it makes one up. */
function exampleOf(schema: z.ZodType): JsonObject {
  const examples = schema.meta()?.examples
  return Array.isArray(examples) ? { example: examples[0] } : {}
}

function answerOf(names: Names, spec: AnswerSpec, fallback: string): JsonObject {
  if (spec.schema === undefined) return { description: spec.description }
  return { description: spec.description, content: json(names.output(spec.schema, fallback)) }
}

function sharedAnswers(answers: typeof SHARED_ANSWERS, { dialect }: Route): JsonObject {
  const own = Object.entries(answers)
  if (dialect === kudosityDialect) {
    const content = json(refTo('KudosityError'))
    const told = own.filter(([status]) => !NOT_IN_KUDOSITY.has(status))
    return Object.fromEntries(
      told.map(([status, [description]]) => [status, { description, content }]),
    )
  }
  return Object.fromEntries(
    own.map(([status, [description, shape]]) => [
      status,
      { description, content: json(refTo(shape)) },
    ]),
  )
}

function operationOf(names: Names, route: Route): JsonObject {
  const id = operationId(route)
  const isKudosity = route.dialect === kudosityDialect
  const own = Object.entries(route.answers).map(([status, spec]) => {
    const isError = Number(status) >= 400
    const described = isError ? { schema: isKudosity ? kudosityError : error, ...spec } : spec
    return [status, answerOf(names, described, `${id}${status}`)]
  })
  return {
    operationId: id,
    tags: [tagOf(route)],
    summary: route.summary,
    description: ACCESS_NOTES[route.access],
    security: [isKudosity ? { apiKeyAuth: [] } : { bearerAuth: [] }],
    parameters: [...parametersOf(route.params, 'path'), ...parametersOf(route.query, 'query')],
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: !route.body.safeParse(undefined).success,
            content: json(names.input(route.body, `${id}Body`), exampleOf(route.body)),
          },
        }),
    responses: {
      ...sharedAnswers(SHARED_ANSWERS, route),
      ...(route.method === 'get' ? {} : sharedAnswers(BODY_ANSWERS, route)),
      ...(route.names === undefined
        ? {}
        : {
            404: {
              description: `${route.names} not found, or another organization's`,
              content: json(refTo(isKudosity ? 'KudosityError' : 'Error')),
            },
          }),
      ...Object.fromEntries(own),
    },
  }
}

/** The OpenAPI 3.1 document of the routes. */
export function createOpenapiDocument(routes: readonly Route[]): JsonObject {
  const names = createNames()
  names.output(error, 'Error')
  names.output(validationError, 'ValidationError')
  names.output(kudosityError, 'KudosityError')
  const paths: { [path: string]: JsonObject } = {}
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method]: operationOf(names, route) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Switchhook management API',
      version: '1.0.0',
      description:
        'Configure where webhooks go and see what became of them. Everything is scoped to the organization of the API key; the id of another organization is answered like an unknown one.',
    },
    paths,
    components: {
      securitySchemes: {
        bearerAuth: { type: 'http', scheme: 'bearer', bearerFormat: 'swh_<id>_<secret>' },
        apiKeyAuth: { type: 'apiKey', in: 'header', name: 'x-api-key' },
      },
      schemas: names.schemas(),
    },
  }
}
