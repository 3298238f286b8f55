import type { ResourceAccess, Step } from './webhook-state.ts'

/** What a number is to be told; undefined stays as it is. `""` means: send it nowhere. */
export type WantedUrls = {
  readonly voice?: string | undefined
  readonly sms?: string | undefined
}

export type Planned = {
  /** What must be written, in order. */
  readonly steps: readonly Step[]
  /** Applications that have decided for the number, and that the steps take off it. */
  readonly detachedApplications: readonly string[]
}

/** A number as its provider knows it. */
export type ProviderNumber = {
  /** Where its calls really go, whatever stands between; null: nowhere. */
  readonly voiceUrl: string | null
  /** The same for its messages. */
  readonly smsUrl: string | null
  /** More about it, in Burki's words. */
  readonly configuration: Readonly<Record<string, unknown>>
  /** Throws `ProviderObstacle`. */
  plan(wanted: WantedUrls): Promise<Planned>
}

/** One account at a provider, within a deadline. */
export type ProviderConnection = {
  readonly resources: ResourceAccess
  /** Undefined when the account does not have it. */
  findNumber(phoneNumber: string): Promise<ProviderNumber | undefined>
  /** Every number of the account, at most `limit`. */
  listNumbers(limit: number): Promise<string[]>
}
