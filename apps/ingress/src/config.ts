import { environment, parseEnvironment, sharedEnvironment } from '@switchhook/core/environment'
import { z } from 'zod'

const SERVES = ['webhooks', 'api', 'dashboard'] as const

export const schema = z.object({
  ...sharedEnvironment,
  PUBLIC_BASE_URL: z.url({ protocol: /^https?$/ }).default('http://127.0.0.1:8080'),
  INGRESS_HOST: z.string().default('0.0.0.0'),
  INGRESS_PORT: environment.port(8080),
  INGRESS_SERVES: z
    .string()
    .default(SERVES.join(','))
    .transform((text) => text.split(',').map((one) => one.trim()))
    .pipe(z.array(z.enum(SERVES)).min(1)),
  OPS_PORT: environment.port(9464),
  ADMIN_API_KEY: z.string().min(1).optional(),
  API_RATE_LIMIT_PER_SECOND: z.coerce.number().int().min(1).default(100),
  TRUSTED_PROXIES: environment.cidrs,
  TWILIO_API_BASE_URL: z.url({ protocol: /^https?$/ }).optional(),
  TELNYX_API_BASE_URL: z.url({ protocol: /^https?$/ }).optional(),
  QUARANTINE_TTL_HOURS: z.coerce.number().int().min(1).max(720).default(72),
  FAILED_TOKENS_PER_MINUTE: z.coerce.number().int().min(1).default(30),
  FAILED_WEBHOOKS_PER_MINUTE: z.coerce.number().int().min(1).default(6_000),
  DRAIN_DELAY_MS: environment.milliseconds(1_000),
})

export type IngressConfig = ReturnType<typeof loadConfig>

/** Throws one error that lists every bad variable. */
export function loadConfig(env: Readonly<Record<string, string | undefined>>) {
  const config = parseEnvironment(schema, env)
  // The provider signs base + path; a slash at the end would be signed twice.
  return { ...config, PUBLIC_BASE_URL: config.PUBLIC_BASE_URL.replace(/\/+$/, '') }
}
