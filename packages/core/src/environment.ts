import { z } from 'zod'
import { blockListOf } from './cidr.ts'
import { parseKeyRing } from './secrets.ts'

/** The variables both processes read, one zod object, so that ingress and worker cannot disagree about a default. */

const port = (fallback: number) => z.coerce.number().int().min(0).max(65_535).default(fallback)
const milliseconds = (fallback: number) =>
  z.coerce.number().int().min(1).max(86_400_000).default(fallback)

/** "true" and "false" only: z.coerce.boolean would read "false" as true. */
const flag = z
  .enum(['true', 'false'])
  .default('false')
  .transform((text) => text === 'true')

const list = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((one) => one.trim())
      .filter((one) => one !== ''),
  )

/** Throws at start for what is no range, not at the first request. */
const cidrs = list.transform((ranges, context) => {
  try {
    blockListOf(ranges)
    return ranges
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message })
    return z.NEVER
  }
})

const keyRing = z.string().transform((text, context) => {
  try {
    return parseKeyRing(text)
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message })
    return z.NEVER
  }
})

export const environment = { port, milliseconds, flag, list, cidrs }

export const sharedEnvironment = {
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }),
  REDIS_URL: z.url({ protocol: /^rediss?$/ }),
  REDIS_CLUSTER_NODES: list,
  ENCRYPTION_KEYS: keyRing,
  OPS_HOST: z.string().default('0.0.0.0'),
  DESTINATION_ALLOWED_CIDRS: list,
  DESTINATION_ALLOW_HTTP: flag,
  QUEUE_SHARDS: z.coerce.number().int().min(1).max(256).default(1),
  SPOOL_MAX_ITEMS: z.coerce.number().int().min(1).default(200_000),
  SHUTDOWN_TIMEOUT_MS: milliseconds(20_000),
  LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
}

/**
 * The parsed environment, or one error that lists every bad variable at once. Empty variables count as unset:
 * compose files and `.env` lines leave them so.
 */
export function parseEnvironment<Schema extends z.ZodObject>(
  schema: Schema,
  env: Readonly<Record<string, string | undefined>>,
): z.output<Schema> {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const result = schema.safeParse(given)
  if (!result.success) {
    const lines = result.error.issues.map(({ path, message }) => `  ${path.join('.')}: ${message}`)
    throw new Error(`The environment is not right (see .env.example):\n${lines.join('\n')}`)
  }
  return result.data
}
