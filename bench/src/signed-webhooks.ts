import { createSecretKey } from 'node:crypto'
import {
  createTwilioSms,
  signTwilioFast,
  type TwilioParams,
} from '@switchhook/testing/twilio-simulator'
import { messageSid, TENANT } from './tenant.ts'

const TEXT =
  'Hi, this is Ana. Can we move the viewing on Tuesday to half past four? I will bring the signed papers with me, see you there.'

export type WebhookBuilder = {
  /** The form of the nth message. */
  formOf(sequence: number): string
  /** The whole signed HTTP request of the nth message. */
  requestOf(sequence: number): Buffer
}

/**
 * Messages that differ in their sid only, as Twilio sends them. One is built by the simulator; the others are made from
 * it by replacing the sid, so that tens of thousands are ready in a second.
 */
export function createWebhookBuilder(run: string): WebhookBuilder {
  const { authToken, accountSid, phoneNumber, publicBaseUrl, webhookPath } = TENANT
  const templateSid = messageSid(run, 0)
  const url = publicBaseUrl + webhookPath
  const template = createTwilioSms({
    ...{ authToken, accountSid, messageSid: templateSid },
    ...{ from: '+14155550199', to: phoneNumber, body: TEXT },
  })
  const key = createSecretKey(Buffer.from(authToken))
  const { 'x-twilio-signature': _replaced, ...headers } = template.headersFor(url)
  const head = [
    `POST ${webhookPath} HTTP/1.1`,
    `host: ${new URL(publicBaseUrl).host}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ].join('\r\n')

  const formOf = (sequence: number): string =>
    template.body.replaceAll(templateSid, messageSid(run, sequence))
  return {
    formOf,
    requestOf(sequence) {
      const sid = messageSid(run, sequence)
      const sids = { MessageSid: sid, SmsSid: sid, SmsMessageSid: sid }
      const params: TwilioParams = { ...template.params, ...sids }
      const signature = signTwilioFast(key, url, params)
      const form = formOf(sequence)
      return Buffer.from(
        `${head}\r\nx-twilio-signature: ${signature}\r\ncontent-length: ${form.length}\r\n\r\n${form}`,
        'latin1',
      )
    },
  }
}
