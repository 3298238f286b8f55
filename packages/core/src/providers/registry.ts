import type { ProviderName } from '../event.ts'
import { platform } from './platform.ts'
import type { ProviderAdapter } from './provider.ts'
import { twilio } from './twilio.ts'

/** Every provider we can read. Adding one is one file, its known-answer tests, and one line here. */
const ADAPTERS: Partial<Record<ProviderName, ProviderAdapter>> = { twilio, platform }

/** Throws for a provider without an adapter: only an event of a newer version can carry one. */
export function adapterOf(provider: ProviderName): ProviderAdapter {
  const adapter = ADAPTERS[provider]
  if (adapter === undefined) throw new Error(`no adapter for provider "${provider}"`)
  return adapter
}
