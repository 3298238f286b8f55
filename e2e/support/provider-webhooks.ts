import {
  createKudosityV1Callback,
  createKudosityWebhook,
} from '@switchhook/testing/kudosity-simulator'
import { createPbxPost, type PbxMessage } from '@switchhook/testing/pbx-simulator'
import type { BasicCredentials, ProviderRequest } from '@switchhook/testing/send-webhook'
import {
  createTelnyxWebhook,
  type TelnyxWebhookOptions,
} from '@switchhook/testing/telnyx-simulator'
import {
  createTwilioCallback,
  type TwilioCallbackOptions,
} from '@switchhook/testing/twilio-simulator'
import { newMessageSid } from './evidence.ts'
import type { Product } from './product.ts'
import type { ProviderTenant } from './provider-tenant.ts'

/** Somebody who writes to the tenants. */
export const PERSON = '+17035550630'

/** A number as Kudosity and the PBX write it. */
export const bare = (phoneNumber: string): string => phoneNumber.replace('+', '')

/** What each provider would send to a tenant, genuine unless told otherwise. */
export type ProviderWebhooks = {
  twilio(
    fields: TwilioCallbackOptions['fields'],
    options?: Partial<Omit<TwilioCallbackOptions, 'fields'>>,
  ): ProviderRequest
  /** An incoming message to that number; the parameters come after the others. */
  twilioMessage(
    to: string,
    more?: readonly [name: string, value: string][],
    options?: Partial<Omit<TwilioCallbackOptions, 'fields'>>,
  ): ProviderRequest
  telnyx(body: string, options?: Partial<TelnyxWebhookOptions>): ProviderRequest
  kudosity(body: string, basic?: BasicCredentials): ProviderRequest
  kudosityV1(apiSecret: string, fields: [name: string, value: string][]): ProviderRequest
  pbx(message: PbxMessage, basic?: BasicCredentials): ProviderRequest
}

export function createWebhooks(product: Product, tenant: ProviderTenant): ProviderWebhooks {
  const { accountSid, authToken, telnyxKey, accounts } = tenant
  const { publicBaseUrl } = product
  const twilio: ProviderWebhooks['twilio'] = (fields, options = {}) =>
    createTwilioCallback({
      ...{ authToken, publicBaseUrl, path: '/twilio-sms-webhook', fields, ...options },
    })
  return {
    twilio,
    twilioMessage: (to, more = [], options = {}) =>
      twilio(
        [
          ['AccountSid', accountSid],
          ['MessageSid', newMessageSid()],
          ['From', PERSON],
          ['To', to],
          ['Body', 'Hello'],
          ['NumMedia', '0'],
          ...more,
        ],
        options,
      ),
    telnyx: (body, options = {}) =>
      createTelnyxWebhook({ key: telnyxKey, target: '/telnyx-webhook', body, ...options }),
    kudosity: (body, basic) =>
      createKudosityWebhook({
        target: tenant.pathOf(accounts.kudosity, '/webhooks/kudosity/'),
        body,
        ...(basic === undefined ? {} : { basic }),
      }),
    kudosityV1: (apiSecret, fields) =>
      createKudosityV1Callback({
        path: tenant.pathOf(accounts.kudosity, '/webhooks/kudosity-v1/'),
        ...{ apiSecret, fields },
      }),
    pbx: (message, basic) =>
      createPbxPost({
        target: tenant.pathOf(accounts.pbx, '/webhooks/pbx/'),
        ...message,
        ...(basic === undefined ? {} : { basic }),
      }),
  }
}
