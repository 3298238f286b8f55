import type { ProviderName } from '../event.ts'
import { kudosity } from './kudosity.ts'
import { pbx } from './pbx.ts'
import { platform } from './platform.ts'
import type { ProviderAdapter, WebhookProvider } from './provider.ts'
import { telnyx } from './telnyx.ts'
import { twilio } from './twilio.ts'

/** Every provider that calls us. Adding one is one file, its known-answer tests, and one line here. */
export const WEBHOOK_PROVIDERS: readonly WebhookProvider[] = [twilio, telnyx, kudosity, pbx]

const ADAPTERS: Readonly<Record<ProviderName, ProviderAdapter>> = {
  twilio,
  telnyx,
  kudosity,
  pbx,
  platform,
}

/** What reads the payloads of a provider's events. */
export function adapterOf(provider: ProviderName): ProviderAdapter {
  return ADAPTERS[provider]
}
