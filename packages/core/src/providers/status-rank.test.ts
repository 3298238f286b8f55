import { describe, expect, it } from 'vitest'
import { callOrder, messageStanding, recordingOrder } from './status-rank.ts'

type Provider = Parameters<typeof messageStanding>[0]

function ranksOf(provider: Provider, words: readonly string[]): number[] {
  return words.map((word) => messageStanding(provider, word, 'm').order.rank)
}

describe('the statuses of a message', () => {
  it.each<[Provider, string[]]>([
    ['twilio', ['accepted', 'queued', 'sent', 'delivered', 'read']],
    ['telnyx', ['queued', 'sent', 'delivery_unconfirmed', 'delivered', 'read']],
    ['kudosity', ['NEW', 'QUEUED', 'SENT', 'ACCEPTED', 'SOFT_BOUNCE', 'HARD_BOUNCE', 'READ']],
    ['platform', ['queued', 'SENT', 'soft-bounce', 'delivered']],
  ])('of %s stand in the order in which they come to pass', (provider, words) => {
    const ranks = ranksOf(provider, words)
    expect(ranks).toEqual([...new Set(ranks)].sort((a, b) => a - b))
  })

  it.each<[Provider, string[]]>([
    ['twilio', ['delivered', 'undelivered', 'failed', 'canceled']],
    ['telnyx', ['delivered', 'sending_failed', 'delivery_failed']],
    ['kudosity', ['DELIVERED', 'FAILED', 'REJECTED', 'UNDELIVERABLE', 'HARD_BOUNCE', 'OTHER']],
  ])('of %s that are its last are not one further than the other', (provider, words) => {
    expect(new Set(ranksOf(provider, words)).size).toBe(1)
  })

  it('have words for all providers', () => {
    const word = (provider: Provider, status: string) =>
      messageStanding(provider, status, 'm').messageStatus
    expect(word('twilio', 'queued')).toBe('ACCEPTED')
    expect(word('twilio', 'sent')).toBe('SENT')
    expect(word('twilio', 'undelivered')).toBe('FAILED')
    expect(word('telnyx', 'delivery_failed')).toBe('FAILED')
    expect(word('kudosity', 'soft-bounce')).toBe('SOFT_BOUNCE')
    for (const name of ['', 'toString', '__proto__', 'x'.repeat(100_000)]) {
      expect(word('twilio', name)).toBe('OTHER')
    }
  })

  it('are about one message, or one receiver of it', () => {
    expect(messageStanding('twilio', 'sent', 'SM1').order.subject).toBe('message.SM1')
    expect(messageStanding('telnyx', 'sent', 'm', '+1').order.subject).toBe('message.m.+1')
  })
})

describe('the stages of a call and of a recording', () => {
  it('stand in their order, and only they', () => {
    expect(
      (['call_started', 'call_answered', 'call_ended', 'call_failed'] as const).map(
        (type) => callOrder(type, 'CA1')?.rank,
      ),
    ).toEqual([1, 2, 3, 3])
    expect(callOrder('transcript', 'CA1')).toBeNull()
    expect(callOrder('call_ended', '')).toBeNull()
    expect(recordingOrder('recording_completed', 'RE1')).toEqual({
      subject: 'recording.RE1',
      rank: 2,
    })
    expect(recordingOrder('recording_completed', '')).toBeNull()
  })
})
