import { randomUUID } from 'node:crypto'
import { type BasicCredentials, basicAuthorization, type ProviderRequest } from './send-webhook.ts'

export type PbxMessage = {
  readonly serviceId?: string
  /** A number or a name. */
  readonly from: string
  readonly smsNumber: string
  readonly body: string
  /** A UUID; a random one unless given. */
  readonly messageId?: string
  readonly timestampSeconds?: number
  /** What the form claims; nobody may deliver there. */
  readonly webhookUrl?: string
  readonly webhookUrlFallback?: string
}

export type PbxPostOptions = PbxMessage & {
  /** With the path token: nothing else tells who sent it. */
  readonly target: string
  readonly basic?: BasicCredentials
}

/** The form as the PBX posts it: url.net.au, "Receive SMS via webhook". It is not signed. */
export function createPbxPost(options: PbxPostOptions): ProviderRequest {
  const { target, basic } = options
  const form = new URLSearchParams([
    ['service_id', options.serviceId ?? 'SVC123'],
    ['from', options.from],
    ['sms_number', options.smsNumber],
    ['body', options.body],
    ['message_id', options.messageId ?? randomUUID()],
    ['timestamp', String(options.timestampSeconds ?? Math.floor(Date.now() / 1000))],
    ['webhook_url', options.webhookUrl ?? 'https://hooks.example.com/pbx'],
    ['webhook_url_fallback', options.webhookUrlFallback ?? 'ops@example.com'],
  ])
  return {
    method: 'POST',
    target,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      ...(basic === undefined ? {} : { authorization: basicAuthorization(basic) }),
    },
    body: form.toString(),
  }
}
