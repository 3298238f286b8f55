import type { RigOptions } from './rig.ts'

/** What main hands to every bench. */
export type BenchContext = RigOptions & {
  /** Ended when the bench is over, in whatever way. */
  readonly resources: AsyncDisposableStack
  /** 1, or less for a quick look: the share of the usual durations and counts. */
  readonly scale: number
  /** Tells a person how far it is. */
  readonly say: (line: string) => void
}
