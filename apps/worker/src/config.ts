import { environment, parseEnvironment, sharedEnvironment } from '@switchhook/core/environment'
import { z } from 'zod'

export const schema = z.object({
  ...sharedEnvironment,
  PUBLIC_BASE_URL: z.url({ protocol: /^https?$/ }).default('http://127.0.0.1:8080'),
  OPS_PORT: environment.port(9465),
  WORKER_CONCURRENCY: z.coerce.number().int().min(1).max(10_000).default(400),
  WORKER_LOCK_MS: z.coerce.number().int().min(1_000).max(600_000).default(30_000),
  SMTP_URL: z.url({ protocol: /^smtps?$/ }),
  EGRESS_PROXY_URL: z.url({ protocol: /^https?$/ }).optional(),
  CIRCUIT_FIRST_PAUSE_MS: environment.milliseconds(30_000),
  CIRCUIT_MAX_PAUSE_MS: environment.milliseconds(900_000),
  MAIL_FROM: z.string().min(3).default('Switchhook <switchhook@localhost>'),
  MAIL_DIGEST_WINDOW_MS: environment.milliseconds(600_000),
  OPERATOR_EMAIL: z.email().optional(),
  MAIL_RETRY_HOURS: z.coerce.number().positive().max(168).default(24),
  RETENTION_DAYS: z.coerce.number().int().min(1).max(3_650).default(30),
  REQUEUE_EVERY_MS: environment.milliseconds(2_000),
  REQUEUE_AFTER_MS: environment.milliseconds(15_000),
})

export type WorkerConfig = ReturnType<typeof loadConfig>

/** Throws one error that lists every bad variable. */
export function loadConfig(env: Readonly<Record<string, string | undefined>>) {
  return parseEnvironment(schema, env)
}
