/** The providers whose numbers can be told where to send. */
export type ControlledProvider = 'twilio' | 'telnyx'
export const CONTROLLED_PROVIDERS: readonly ControlledProvider[] = ['twilio', 'telnyx']

export type Channel = 'voice' | 'sms'

/** The paths of the webhook router that take a provider's requests. */
const PATHS: Readonly<Record<ControlledProvider, Readonly<Record<Channel, string>>>> = {
  twilio: { voice: '/twilio-voice-webhook', sms: '/webhooks/sms/twilio' },
  telnyx: { voice: '/telnyx-webhook', sms: '/webhooks/sms/telnyx' },
}

/** Twilio's own answer to every message; its numbers have it when nobody set another. */
export const TWILIO_DEMO_URL = 'https://demo.twilio.com/welcome/sms/reply'

/** Switched off: nothing else is to take what is sent there. */
const isOff = (url: string): boolean => url === '' || url === TWILIO_DEMO_URL

/**
 * Without it Twilio tries once more, and only after a failed connection: an answer of 503 would lose the event.
 * Source: www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides.
 */
const CONNECTION_OVERRIDES = '#rc=3&rp=5xx,ct,rt'

/** `url` as Twilio gets it, unless it says itself how it is to be tried. */
export function withOverrides(url: string): string {
  return isOff(url) || url.includes('#') ? url : url + CONNECTION_OVERRIDES
}

/** The inverse, for people. */
export function withoutOverrides(url: string | null | undefined): string | null {
  if (url === null || url === undefined || url === '') return null
  return url.endsWith(CONNECTION_OVERRIDES) ? url.slice(0, -CONNECTION_OVERRIDES.length) : url
}

/** Where this gateway takes the provider's webhooks. */
export function gatewayUrl(
  publicBaseUrl: string,
  provider: ControlledProvider,
  channel: Channel,
): string {
  return publicBaseUrl + PATHS[provider][channel]
}

/**
 * What the provider calls when `primary` has failed: `current`, when it is the owner's own. Else this gateway, which
 * keeps the message and delivers it once the owner's server is back. Where the gateway is the primary, the same under
 * another URL: the provider makes a second series of attempts there, which it never does with the primary itself.
 *
 * Calls at Twilio never fall back to this gateway: Twilio runs what the voice fallback answers as TwiML, and our 204
 * is none. Source: www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource (VoiceFallbackUrl).
 */
export function fallbackUrl(
  publicBaseUrl: string,
  provider: ControlledProvider,
  channel: Channel,
  { primary, current }: { readonly primary: string; readonly current: string | null },
): string {
  if (isOff(primary)) return ''
  const isPrimary = (url: string) => url.replace(/#.*/, '') === primary.replace(/#.*/, '')
  const isOurs = (url: string) => url.startsWith(`${publicBaseUrl}/`)
  if (current !== null && current !== '' && !isPrimary(current) && !isOurs(current)) return current
  if (provider === 'twilio' && channel === 'voice') return ''
  const ours = gatewayUrl(publicBaseUrl, provider, channel)
  return isOurs(primary) ? `${ours}?fallback=1` : ours
}
