const E164 = /^\+[1-9]\d{6,14}$/

/** Where a number without a country was written. */
export type Region = {
  /** The digits that lead abroad. */
  readonly abroad: string
  readonly country: string
  /** A mobile number that a spreadsheet has taken its zero from. */
  readonly bareMobile: RegExp
}

export const AUSTRALIA: Region = { abroad: '0011', country: '61', bareMobile: /^4\d{8}$/ }

/**
 * A number as it is registered, `+` and digits, however the provider spells it: with a channel before it
 * (`whatsapp:+1…`), without the plus, and, where a region is given, as one dials or writes it there (0491 570 006,
 * +61 (0)491 570 006).
 * A name or a short code stays what it is; null for nothing.
 */
export function toNumber(text: string, region?: Region): string | null {
  const bare = text.replace(/^(whatsapp|rcs|sms):/i, '').trim()
  if (bare === '') return null
  const digits = bare.replace(/[\s().-]/g, '')
  const whole = E164.test(digits) ? digits : internationalise(digits, region)
  const number = region === undefined ? whole : withoutTrunkZero(whole, region)
  return E164.test(number) ? number : bare
}

/** No number of the region begins with the zero that one dials before it. */
const withoutTrunkZero = (number: string, { country }: Region): string =>
  number.startsWith(`+${country}0`) ? `+${country}${number.slice(country.length + 2)}` : number

function internationalise(digits: string, region: Region | undefined): string {
  if (!/^\d+$/.test(digits)) return ''
  if (region !== undefined) {
    for (const abroad of [region.abroad, '00']) {
      if (digits.startsWith(abroad)) return `+${digits.slice(abroad.length)}`
    }
    if (digits.startsWith('0')) return `+${region.country}${digits.slice(1)}`
    if (region.bareMobile.test(digits)) return `+${region.country}${digits}`
  }
  return `+${digits}`
}
