/**
 * The destination as a process of its own: the receiver of packages/testing, answering 200 at once, that remembers
 * which `webhook-id` came when. Messages: `{ kind: 'url' | 'count' | 'take' }`.
 */
import { startReceiver } from '@switchhook/testing/receiver'
import { epochMs } from './clock.ts'

export type Arrivals = {
  /** The `webhook-id` of each request, '' without one, in order of arrival. */
  readonly ids: string[]
  /** ms since 1970 */
  readonly atMs: Float64Array
}

const KEPT_REQUESTS = 1_000

let ids: string[] = []
let times: number[] = []
const receiver = await startReceiver({
  maxReceived: KEPT_REQUESTS,
  onRequest({ headers }) {
    const id = headers['webhook-id']
    ids.push(typeof id === 'string' ? id : '')
    times.push(epochMs())
  },
})

function answer(kind: string): object {
  if (kind === 'url') return { url: receiver.url }
  if (kind === 'count') return { count: ids.length }
  const arrivals: Arrivals = { ids, atMs: Float64Array.from(times) }
  ids = []
  times = []
  return arrivals
}

process.on('message', ({ kind }: { kind: string }) => process.send?.(answer(kind)))
process.once('disconnect', () => process.exit())
