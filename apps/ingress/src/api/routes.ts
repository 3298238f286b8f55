import { apiKeyRoutes } from './api-keys.ts'
import { assistantRoutes } from './assistants.ts'
import { auditRoutes } from './audit.ts'
import { callRoutes } from './calls.ts'
import { circuitRoutes } from './circuits.ts'
import type { Route } from './define-route.ts'
import { deliveryRoutes } from './deliveries.ts'
import { deliveryActionRoutes } from './delivery-actions.ts'
import { destinationActionRoutes } from './destination-actions.ts'
import { destinationRoutes } from './destinations.ts'
import { eventActionRoutes } from './event-actions.ts'
import { eventRoutes } from './events.ts'
import { kudosityWebhookRoutes } from './kudosity-webhooks.ts'
import { numberSyncRoutes } from './number-sync.ts'
import { organizationRoutes } from './organizations.ts'
import { phoneNumberWebhookRoutes } from './phone-number-webhooks.ts'
import { phoneNumberRoutes } from './phone-numbers.ts'
import { privacyRoutes } from './privacy.ts'
import { providerAccountRoutes } from './provider-accounts.ts'
import { quarantineRoutes } from './quarantine.ts'
import { replayRoutes } from './replays.ts'
import { smsLogRoutes } from './sms-logs.ts'
import { destinationTestRoutes } from './test-destination.ts'
import { userApiKeyRoutes } from './user-api-keys.ts'
import { webhookChangeRoutes } from './webhook-changes.ts'
import { webhookLogRoutes } from './webhook-logs.ts'

/** Every route of the management API: Express handlers and the OpenAPI document are both made from it. */
export const routes: readonly Route[] = [
  ...organizationRoutes,
  ...apiKeyRoutes,
  ...providerAccountRoutes,
  ...assistantRoutes,
  ...phoneNumberRoutes,
  ...phoneNumberWebhookRoutes,
  ...webhookChangeRoutes,
  ...numberSyncRoutes,
  ...destinationRoutes,
  ...destinationActionRoutes,
  ...destinationTestRoutes,
  ...circuitRoutes,
  ...eventRoutes,
  ...eventActionRoutes,
  ...deliveryRoutes,
  ...deliveryActionRoutes,
  ...replayRoutes,
  ...quarantineRoutes,
  ...kudosityWebhookRoutes,
  ...webhookLogRoutes,
  ...callRoutes,
  ...smsLogRoutes,
  ...auditRoutes,
  ...privacyRoutes,
  ...userApiKeyRoutes,
]
