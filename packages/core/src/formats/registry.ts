import { FORMATS, type FormatName } from '../event.ts'
import { burki } from './burki.ts'
import type { Format } from './format.ts'
import { kudosity } from './kudosity.ts'
import { pbx } from './pbx.ts'
import { raw } from './raw.ts'
import { standard } from './standard.ts'

/** Every format we deliver in. Adding one is one file, its tests, and one line here. */
const RENDERERS: Record<FormatName, Format> = { burki, pbx, kudosity, standard, raw }

/** The formats a destination may choose. */
export const SUPPORTED_FORMATS = FORMATS

/** Throws for a format without a renderer: only a destination of a newer version can name one. */
export function formatOf(name: FormatName): Format {
  const format = RENDERERS[name] as Format | undefined
  if (format === undefined) throw new Error(`no renderer for format "${name}"`)
  return format
}
