import type { FormatName } from '../event.ts'
import { burki } from './burki.ts'
import type { Format } from './format.ts'
import { pbx } from './pbx.ts'

/** Every format we deliver in. Adding one is one file, its tests, and one line here. */
const FORMATS: Partial<Record<FormatName, Format>> = { burki, pbx }

/** The formats a destination may choose today. */
export const SUPPORTED_FORMATS = ['burki', 'pbx'] as const satisfies readonly FormatName[]

/** Throws for a format without a renderer: only a destination of a newer version can name one. */
export function formatOf(name: FormatName): Format {
  const format = FORMATS[name]
  if (format === undefined) throw new Error(`no renderer for format "${name}"`)
  return format
}
