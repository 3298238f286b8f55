import { createTwilioSms, type TwilioSmsOptions } from '@switchhook/testing/twilio-simulator'
import { SENDER, SMS_PATH } from './evidence.ts'
import type { Product } from './product.ts'
import type { Tenant } from './tenant.ts'

export type SignedPost = {
  /** The form, as signed. */
  readonly body: string
  /** Header lines of a good request, by name; without Host and length. */
  readonly headers: Readonly<Record<string, string>>
  /** The whole request as bytes, with these headers changed, added, or (undefined) left out. */
  toBytes(changes?: Changes): Buffer
}

export type Changes = {
  readonly method?: string
  readonly path?: string
  readonly version?: string
  readonly body?: string | Buffer
  readonly headers?: Readonly<Record<string, string | undefined>>
  /** Lines put after the headers as they are. */
  readonly lines?: readonly string[]
}

/** A genuine message to `to`, to be spoilt byte by byte. */
export function createSignedPost(
  product: Pick<Product, 'publicBaseUrl'>,
  tenant: Tenant,
  to: string,
  options: Partial<TwilioSmsOptions> & { signedUrl?: string } = {},
): SignedPost {
  const { signedUrl = product.publicBaseUrl + SMS_PATH, ...sms } = options
  const { accountSid, authToken } = tenant
  const made = createTwilioSms({ accountSid, authToken, from: SENDER, body: 'Hello', ...sms, to })
  const headers = made.headersFor(signedUrl)
  return {
    body: made.body,
    headers,
    toBytes(changes = {}) {
      const { method = 'POST', path = SMS_PATH, version = 'HTTP/1.1', lines = [] } = changes
      const body = Buffer.from(changes.body ?? made.body)
      const all: Record<string, string | undefined> = {
        host: 'hooks.switchhook.example',
        ...headers,
        'content-length': String(body.length),
        ...changes.headers,
      }
      const given = Object.entries(all).flatMap(([name, value]) =>
        value === undefined ? [] : [`${name}: ${value}`],
      )
      const head = [`${method} ${path} ${version}`, ...given, ...lines, '', ''].join('\r\n')
      return Buffer.concat([Buffer.from(head, 'latin1'), body])
    },
  }
}
