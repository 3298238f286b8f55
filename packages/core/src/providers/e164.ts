const E164 = /^\+[1-9]\d{6,14}$/

/** Where a number without a country was written: the digits that lead abroad, and the country's own. */
export type Region = { readonly abroad: string; readonly country: string }

export const AUSTRALIA: Region = { abroad: '0011', country: '61' }

/**
 * A number as it is registered, `+` and digits, however the provider spells it: with a channel before it
 * (`whatsapp:+1…`), without the plus, and, where a region is given, as one dials it there (0491 570 006).
 * A name or a short code stays what it is; null for nothing.
 */
export function toNumber(text: string, region?: Region): string | null {
  const bare = text.replace(/^(whatsapp|rcs|sms):/i, '').trim()
  if (bare === '') return null
  const digits = bare.replace(/[\s().-]/g, '')
  const number = E164.test(digits) ? digits : internationalise(digits, region)
  return E164.test(number) ? number : bare
}

function internationalise(digits: string, region: Region | undefined): string {
  if (!/^\d+$/.test(digits)) return ''
  if (region !== undefined) {
    for (const abroad of [region.abroad, '00']) {
      if (digits.startsWith(abroad)) return `+${digits.slice(abroad.length)}`
    }
    if (digits.startsWith('0')) return `+${region.country}${digits.slice(1)}`
  }
  return `+${digits}`
}
