import type { Product } from './product.ts'

/** An ingress tries both stores for 1.2 s. */
const PATIENT_MS = 1_100

/**
 * Statuses other than 200 and the expected ones, and the lines of 503s that came before both stores had had their time:
 * the other 503s are left to a machine that stands still.
 */
export function unexplained(
  { lines }: Pick<Product, 'lines'>,
  statuses: Readonly<Record<string, number>>,
  ...expected: string[]
): string[] {
  const known = ['200', '503', ...expected]
  const hasty = lines
    .filter(({ text }) => text.includes('"webhook.unavailable"'))
    .filter(({ text }) => JSON.parse(text).duration_ms < PATIENT_MS)
  return [
    ...Object.keys(statuses).filter((status) => !known.includes(status)),
    ...hasty.map(({ text }) => text),
  ]
}
