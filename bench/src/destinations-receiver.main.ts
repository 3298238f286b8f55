/**
 * Many destinations as one process. By the first part of the path: /ok answers 200, /hang never and /dead 500 until they
 * are revived, /fails 500. Messages: `{ kind: 'url' | 'take' | 'count' | 'revive' | 'hang' }`.
 */
import { startReceiver } from '@switchhook/testing/receiver'
import { epochMs } from './clock.ts'

/** All since the last `take`, in order of arrival. */
export type PathArrivals = {
  /** The `webhook-id` of each request. */
  readonly ids: string[]
  /** The first part of each path, without slashes. */
  readonly paths: string[]
  /** ms since 1970 */
  readonly atMs: Float64Array
}

const KEPT_REQUESTS = 1_000

let ids: string[] = []
let paths: string[] = []
let times: number[] = []
const receiver = await startReceiver({
  maxReceived: KEPT_REQUESTS,
  onRequest({ headers, path }) {
    ids.push(String(headers['webhook-id'] ?? ''))
    paths.push(path.split('/')[1] ?? '')
    times.push(epochMs())
  },
})
const hang = (): void => receiver.on('/hang', { kind: 'hang' })
hang()
receiver.on('/fails', { kind: 'answer', status: 500 })
receiver.on('/dead', { kind: 'answer', status: 500 })

function answer(kind: string): object {
  if (kind === 'url') return { url: receiver.url }
  if (kind === 'count') return { count: ids.length }
  if (kind === 'revive') {
    for (const path of ['/dead', '/hang']) receiver.on(path, { kind: 'answer', status: 200 })
    return { atMs: epochMs() }
  }
  if (kind === 'hang') {
    hang()
    return {}
  }
  const arrivals: PathArrivals = { ids, paths, atMs: Float64Array.from(times) }
  ids = []
  paths = []
  times = []
  return arrivals
}

process.on('message', ({ kind }: { kind: string }) => process.send?.(answer(kind)))
process.once('disconnect', () => process.exit())
