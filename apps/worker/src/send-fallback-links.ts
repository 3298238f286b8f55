import { signReplayToken } from '@switchhook/core/delivery/replay-token'
import type { KeyRing } from '@switchhook/core/secrets'

const LIVES_MS = 7 * 86_400_000

/** The one-click link of a delivery or digest, for the mail that is sent now. */
export type ReplayLinks = (
  subject: string,
  nowMs: number,
) => { readonly url: string; readonly expiresAtMs: number }

export function createReplayLinks(ring: KeyRing, publicBaseUrl: string): ReplayLinks {
  return (subject, nowMs) => {
    const expiresAtMs = nowMs + LIVES_MS
    return {
      url: `${publicBaseUrl}/replay/${signReplayToken(ring, subject, expiresAtMs)}`,
      expiresAtMs,
    }
  }
}
