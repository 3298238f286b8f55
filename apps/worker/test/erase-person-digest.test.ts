import { randomBytes } from 'node:crypto'
import { silentLogger } from '@switchhook/core/log'
import { createMetrics } from '@switchhook/core/metrics'
import { parseKeyRing } from '@switchhook/core/secrets'
import { waitFor } from '@switchhook/testing/wait-for'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import type { FallbackMail } from '../src/fallback-mail.ts'
import { type SendDigestDeps, sendFallbackDigest } from '../src/send-fallback-digest.ts'
import { createReplayLinks } from '../src/send-fallback-links.ts'
import type { MailResult } from '../src/send-mail.ts'
import { type Erasing, messageOf, OTHER, openErasing, PERSON } from './erasing.ts'
import { clearMails, countStates, type DigestSlot, gather, makeDue } from './gathering.ts'
import { sampleDestination } from './sample-delivery.ts'

const ring = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)

vi.setConfig({ testTimeout: 90_000 })

let erasing: Erasing

beforeAll(async () => {
  erasing = await openErasing()
})
beforeEach(async () => {
  await erasing.clear()
  await clearMails(erasing)
})
afterAll(() => erasing.close())

/** `send` stands for the mail server. */
function sendDigest(
  slot: DigestSlot,
  send: (mail: FallbackMail) => Promise<MailResult>,
): ReturnType<typeof sendFallbackDigest> {
  const deps: SendDigestDeps = {
    ...{ nowMs: Date.now, random: () => 0, pool: erasing.pool, spool: erasing.spool },
    ...{ sender: { send }, findDestination: async () => sampleDestination() },
    ...{ sentUnrecorded: new Set(), links: createReplayLinks(ring, 'https://hooks.example') },
    ...{ tell: async () => undefined, publicBaseUrl: 'https://hooks.example' },
    ...{ retryForMs: 86_400_000, leaseMs: 600_000, metrics: createMetrics(new Registry()) },
    log: silentLogger,
  }
  return sendFallbackDigest(deps, slot)
}

const gatherBoth = () =>
  gather(erasing.stores, [messageOf('theirs', PERSON), messageOf('other', OTHER)])

const hasText = ({ text }: FallbackMail, of: string): boolean => text.includes(`text of ${of}`)

it('waits for a digest that is on its way with a text of the person', async () => {
  const slot = await gatherBoth()
  const { promise: isTaken, resolve: take } = Promise.withResolvers<MailResult>()
  const mails: FallbackMail[] = []
  const sending = sendDigest(slot, (mail) => {
    mails.push(mail)
    return isTaken
  })
  await waitFor(() => mails.length > 0, { timeoutMs: 20_000, what: 'the mail to be on its way' })
  expect(mails.map((mail) => hasText(mail, 'theirs'))).toEqual([true])
  const id = await erasing.ask()
  await expect(erasing.finish(id)).rejects.toThrow('does not end')
  // Nor once its row has been cancelled for so long that no worker writes of it any more.
  await erasing.pool.query(`update deliveries set updated_at = now() - interval '1 hour'`)
  await expect(erasing.finish(id)).rejects.toThrow('does not end')
  expect(await erasing.find(id)).toMatchObject({ eventsErased: 0, deliveriesCancelled: 1 })
  take({ kind: 'sent' })
  await sending
  expect(await erasing.finish(id)).toMatchObject({ state: 'finished', eventsErased: 1 })
  expect(await countStates(erasing)).toEqual({ cancelled: 1, emailed: 1 })
})

it('does not wait for one that is tried again later: the next try leaves the person out', async () => {
  const slot = await gatherBoth()
  const failed = await sendDigest(slot, async () => ({ kind: 'failed', error: 'It is away.' }))
  expect(failed.kind).toBe('defer')
  const id = await erasing.ask()
  expect(await erasing.finish(id)).toMatchObject({ state: 'finished', deliveriesCancelled: 1 })
  await makeDue(erasing)
  const mails: FallbackMail[] = []
  await sendDigest(slot, async (mail) => {
    mails.push(mail)
    return { kind: 'sent' }
  })
  expect(mails.map((mail) => [hasText(mail, 'theirs'), hasText(mail, 'other')])).toEqual([
    [false, true],
  ])
})

it('does not wait for one whose worker died: only until its lease ends', async () => {
  const slot = await gatherBoth()
  const dies = sendDigest(slot, () => Promise.reject(new Error('killed')))
  await expect(dies).rejects.toThrow('killed')
  const id = await erasing.ask()
  await expect(erasing.finish(id)).rejects.toThrow('does not end')
  await makeDue(erasing)
  expect(await erasing.finish(id)).toMatchObject({ state: 'finished', deliveriesCancelled: 1 })
})
