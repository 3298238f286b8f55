import { createEgressRules } from '@switchhook/core/egress-rules'
import type { AcceptedEvent } from '@switchhook/core/event'
import { randomText } from '@switchhook/core/ids'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import type { EventContent } from '@switchhook/core/providers/provider'
import type { Router } from 'express'
import { acceptEvent } from './accept-event.ts'
import { createApiRouter } from './api/api-router.ts'
import type { KeyUses } from './api/key-uses.ts'
import { createCallLookUp } from './call-look-up.ts'
import type { IngressConfig } from './config.ts'
import { createFailureLimit } from './failure-limit.ts'
import { createProviderControl } from './provider-control/provider-control.ts'
import { createQuarantine } from './quarantine.ts'
import { createQuarantineActions } from './release.ts'
import { createReplayLinkRouter } from './replay-link.ts'
import type { Stores } from './stores.ts'
import { createWebhookRouter } from './webhook-router.ts'

export type RoutersDeps = {
  readonly config: IngressConfig
  readonly stores: Stores
  readonly metrics: Metrics
  readonly keyUses: Pick<KeyUses, 'note'>
  readonly log: Logger
}

const HOUR_MS = 3_600_000

/** What this ingress serves (INGRESS_SERVES), put together from the stores. */
export function createRouters({ config, stores, metrics, keyUses, log }: RoutersDeps): Router[] {
  const { snapshot, refresh, apiDatabase } = stores
  const publicBaseUrl = config.PUBLIC_BASE_URL
  const isReady = () => refresh.isLoaded()
  const accept = (event: AcceptedEvent, content: EventContent) =>
    acceptEvent(stores.accept, event, content)
  const calls = createCallLookUp(apiDatabase)
  const shared = { snapshot, isReady, accept, publicBaseUrl, log }

  const webhooks = () =>
    createWebhookRouter({
      ...shared,
      ...{ calls, metrics, nowMs: Date.now },
      mayFail: createFailureLimit(config.FAILED_WEBHOOKS_PER_MINUTE).count,
      mayGuess: createFailureLimit(config.FAILED_TOKENS_PER_MINUTE).count,
      quarantine: createQuarantine({
        pool: apiDatabase.pool,
        spool: stores.spool,
        keepForMs: config.QUARANTINE_TTL_HOURS * HOUR_MS,
        log,
      }),
    })
  const replayLinks = () =>
    createReplayLinkRouter({
      ...{ nowMs: Date.now, database: apiDatabase, ring: config.ENCRYPTION_KEYS, log },
      enqueueDelivery: stores.enqueueDelivery,
    })
  const api = () =>
    createApiRouter({
      ...shared,
      database: apiDatabase,
      ring: config.ENCRYPTION_KEYS,
      egress: createEgressRules({
        allowedCidrs: config.DESTINATION_ALLOWED_CIDRS,
        allowHttp: config.DESTINATION_ALLOW_HTTP,
      }),
      // Unset, nobody can create organizations here.
      adminApiKey: config.ADMIN_API_KEY ?? randomText(32),
      rateLimitPerSecond: config.API_RATE_LIMIT_PER_SECOND,
      noteKeyUse: keyUses.note,
      configChanged: stores.configChanged,
      enqueueDelivery: stores.enqueueDelivery,
      dropDelivery: stores.dropDelivery,
      readCircuits: stores.readCircuits,
      quarantine: createQuarantineActions({
        ...{ snapshot, accept, calls, publicBaseUrl, database: apiDatabase },
      }),
      providerControl: createProviderControl({
        twilioApiBaseUrl: config.TWILIO_API_BASE_URL,
        telnyxApiBaseUrl: config.TELNYX_API_BASE_URL,
        ...{ publicBaseUrl, metrics, log },
      }),
    })
  const serves = new Set(config.INGRESS_SERVES)
  return [
    ...(serves.has('webhooks') ? [webhooks(), replayLinks()] : []),
    ...(serves.has('api') ? [api()] : []),
  ]
}
