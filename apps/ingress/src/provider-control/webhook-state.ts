/** What a resource at a provider holds, in the provider's own words, as far as a change touches it. */
export type Fields = Readonly<Record<string, unknown>>

/** `id` and `fields` are null for one that is not there: not yet, or not any more. */
export type ResourceState = {
  readonly resource: string
  readonly id: string | null
  readonly fields: Fields | null
}

/** Where a number's calls and messages go, and everything that must be written to bring that about again. */
export type WebhookState = {
  readonly provider_account_id: string
  readonly voice_webhook_url: string | null
  readonly sms_webhook_url: string | null
  /** Of what a change leaves: the applications that it takes off the number. */
  readonly detached_applications?: readonly string[]
  readonly resources: readonly ResourceState[]
}

/** One write at the provider. `before` is null for a resource that the step makes, `after` for one that it removes. */
export type Step = {
  readonly resource: string
  readonly id: string | null
  readonly before: Fields | null
  readonly after: Fields | null
}

/** In the fields of a step: the id of the resource that the latest step has made. */
export const MADE_ID = '{the id of the resource made before}'

/** Reads and writes one provider account. Every method throws what the provider's package throws. */
export type ResourceAccess = {
  /** Undefined when there is no such resource. */
  read(resource: string, id: string): Promise<Fields | undefined>
  write(resource: string, id: string, fields: Fields): Promise<void>
  create(resource: string, fields: Fields): Promise<string>
  remove(resource: string, id: string): Promise<void>
}

/** `fields`, as far as `names` has them; what is not there is null. */
export function pickFields(fields: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(names.map((name) => [name, fields[name] ?? null]))
}

/** Whether `actual` holds what `expected` says of the fields that both have. Providers answer null, "" or nothing for the same: no URL. */
export function holdsFields(actual: Fields, expected: Fields): boolean {
  const plain = (value: unknown) => JSON.stringify(value ?? '')
  return Object.entries(expected).every(
    ([name, value]) => !(name in actual) || plain(actual[name]) === plain(value),
  )
}

/** One side of the steps. */
export function statesOf(steps: readonly Step[], side: 'before' | 'after'): ResourceState[] {
  return steps.map(({ resource, id, [side]: fields }) => ({ resource, id, fields }))
}

/** The steps from one state to the other, which list the same resources in the same order. */
export function stepsBetween(before: WebhookState, after: WebhookState): Step[] {
  return after.resources.map(({ resource, id, fields }, index) => ({
    ...{ resource, id, after: fields },
    before: before.resources[index]?.fields ?? null,
  }))
}
