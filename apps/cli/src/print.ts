import type { Journey } from './demo.ts'
import type { Ports } from './ports.ts'
import type { DemoTenant } from './state.ts'

export type Places = {
  readonly dataDir: string
  readonly ports: Ports
  readonly ingressUrl: string
  readonly receiverUrl: string
  readonly inboxUrl: string
  readonly adminApiKey: string
  readonly tenant: DemoTenant
}

/** Where everything is, and the keys to it. */
export function printReady(say: (text: string) => void, places: Places): void {
  const { ingressUrl, tenant, ports } = places
  say(`
Ready
  webhooks   ${ingressUrl}/twilio-sms-webhook
  API        ${ingressUrl}/api/v1   docs: ${ingressUrl}/docs
  receiver   ${places.receiverUrl}   what the demo tenant's webhook got
  mail       ${places.inboxUrl}   fallback mails
  metrics    http://127.0.0.1:${ports.ingressOps}/metrics  http://127.0.0.1:${ports.workerOps}/metrics
  logs       ${places.dataDir}/logs

Demo tenant
  API key        ${tenant.apiKey}
  admin key      ${places.adminApiKey}   (creates organizations)
  phone number   ${tenant.phoneNumber}
  Twilio account ${tenant.accountSid}   auth token ${tenant.authToken}`)
}

/** What became of the one SMS that was sent through the front door. */
export function printJourney(
  say: (text: string) => void,
  ingressUrl: string,
  tenant: DemoTenant,
  journey: Journey,
): void {
  const ms = (value: number): string => `${Math.round(value)} ms`
  say(`
One signed Twilio SMS, through the front door
  verified   the signature held; durable in Postgres and Redis, answered after ${ms(journey.answeredMs)}   ${journey.eventId}
  delivered  the receiver answered ${journey.statusCode} after ${ms(journey.deliveredMs)}   ${journey.deliveryId}
  logged     curl -s -H 'Authorization: Bearer ${tenant.apiKey}' '${ingressUrl}/api/v1/webhook-logs?limit=1'
`)
}
