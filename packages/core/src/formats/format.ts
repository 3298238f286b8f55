import type { AcceptedEvent } from '../event.ts'
import type { EventContent } from '../providers/provider.ts'

export type RenderInput = {
  readonly event: AcceptedEvent
  readonly content: EventContent
  readonly destination: { readonly url: string; readonly fallbackEmail: string | null }
  /** The PBX service of the receiving number; empty when it has none. */
  readonly serviceId: string
}

/** What goes over the wire, but for the signature and the destination's own headers. */
export type RenderedRequest = {
  readonly contentType: string
  readonly userAgent: string
  readonly body: Buffer
}

export type Format = (input: RenderInput) => RenderedRequest

export const USER_AGENT = 'Switchhook/1.0'
