import { readFileSync } from 'node:fs'
import { stringify } from 'node:querystring'
import type { ProviderName } from '../../src/event.ts'
import type { RenderInput } from '../../src/formats/format.ts'
import { adapterOf } from '../../src/providers/registry.ts'
import { sampleInput } from './sample-input.ts'

type Fields = Readonly<Record<string, unknown>>

/** What one webhook of a provider says, and how each of its events goes out; `pbx` as decoded fields. */
export type GoldenCase = {
  readonly content_type: string
  readonly payload: Fields
  readonly events: readonly ({ readonly type: string } & {
    readonly [format in 'burki' | 'pbx' | 'kudosity' | 'standard']: Fields
  })[]
}

/** The reviewed cases of a provider by their titles. */
export function readGoldenCases(
  provider: ProviderName,
): readonly (readonly [string, GoldenCase])[] {
  const file = new URL(`../../src/formats/fixtures/${provider}.json`, import.meta.url)
  return Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, GoldenCase>)
}

/** The events of a case, read from its payload as the product reads them, on their way to a destination. */
export function goldenEvents(
  provider: ProviderName,
  { content_type, payload }: Pick<GoldenCase, 'content_type' | 'payload'>,
): readonly RenderInput[] {
  const isJson = content_type === 'application/json'
  const bytes = Buffer.from(
    isJson ? JSON.stringify(payload) : stringify(payload as Record<string, string>),
  )
  return adapterOf(provider)
    .read(bytes, content_type)
    .map((content) => {
      const event = { provider, payload: bytes, contentType: content_type }
      // The service of a PBX is the form's, so that it is seen to be.
      return { ...sampleInput(content, event), serviceId: provider === 'pbx' ? '' : 'SVC-9' }
    })
}
