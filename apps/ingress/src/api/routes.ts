import { apiKeyRoutes } from './api-keys.ts'
import { assistantRoutes } from './assistants.ts'
import { callRoutes } from './calls.ts'
import type { Route } from './define-route.ts'
import { deliveryRoutes } from './deliveries.ts'
import { destinationActionRoutes } from './destination-actions.ts'
import { destinationRoutes } from './destinations.ts'
import { eventRoutes } from './events.ts'
import { organizationRoutes } from './organizations.ts'
import { phoneNumberRoutes } from './phone-numbers.ts'
import { providerAccountRoutes } from './provider-accounts.ts'
import { webhookLogRoutes } from './webhook-logs.ts'

/** Every route of the management API: Express handlers and the OpenAPI document are both made from it. */
export const routes: readonly Route[] = [
  ...organizationRoutes,
  ...apiKeyRoutes,
  ...providerAccountRoutes,
  ...assistantRoutes,
  ...phoneNumberRoutes,
  ...destinationRoutes,
  ...destinationActionRoutes,
  ...eventRoutes,
  ...deliveryRoutes,
  ...webhookLogRoutes,
  ...callRoutes,
]
