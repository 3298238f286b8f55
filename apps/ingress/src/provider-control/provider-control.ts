import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import type { ProviderCredentials } from '@switchhook/core/store/provider-credentials'
import { applySteps, planUndo, splitRemovals } from './apply-steps.ts'
import type { ProviderConnection, ProviderNumber } from './connection.ts'
import { type ControlledProvider, gatewayUrl, TWILIO_DEMO_URL } from './gateway-urls.ts'
import {
  codeOf,
  describeError,
  isProviderError,
  NumberNotAtProvider,
  ProviderFailure,
  ProviderObstacle,
} from './provider-errors.ts'
import { connectTelnyx } from './telnyx-connection.ts'
import { connectTwilio } from './twilio-connection.ts'
import { type Step, statesOf, stepsBetween, type WebhookState } from './webhook-state.ts'

/** What is asked for. `sms`: to a URL, to this gateway, or to nobody. */
export type WebhookRequest = {
  readonly voiceUrl?: string | undefined
  readonly sms?: { readonly url: string } | 'enabled' | 'disabled' | undefined
}

/** The accounts of one organization with one provider, and one of its numbers. */
export type NumberRef = {
  readonly organizationId: string
  /** For the log; undefined before there is a change. */
  readonly changeId?: string | undefined
  readonly provider: ControlledProvider
  readonly phoneNumber: string
  readonly accounts: readonly ProviderCredentials[]
}

export type NumberReading = {
  readonly voiceUrl: string | null
  readonly smsUrl: string | null
  readonly configuration: Readonly<Record<string, unknown>>
}

/** A change that could be made, with all that it would write. */
export type WebhookPlan = {
  readonly before: WebhookState
  readonly after: WebhookState
  /** Per channel what to tell the one who asked. */
  readonly updated: Readonly<{ voice?: string; sms?: string }>
}

/** Called when the change has made something at the provider, before anything else is written: `after` with its id. */
export type OnMade = (after: WebhookState) => Promise<void>

/**
 * Reads and changes where providers send a number's calls and messages. Every method ends within `timeoutMs` (a
 * failed change within half as much again) and throws an error of provider-errors.ts.
 */
export type ProviderControl = {
  readNumber(ref: NumberRef): Promise<NumberReading>
  /** Changes nothing. */
  plan(ref: NumberRef, request: WebhookRequest): Promise<WebhookPlan>
  /** Everything or nothing. What is there afterwards. */
  apply(ref: NumberRef, plan: WebhookPlan, onMade: OnMade): Promise<WebhookState>
  /** Puts back what was there before a change. */
  rollBack(ref: NumberRef, change: RollBack): Promise<void>
  /** Every number of an account, up to `limit`. */
  listNumbers(account: ProviderCredentials, limit: number): Promise<string[]>
}

export type RollBack = {
  readonly before: WebhookState
  readonly after: WebhookState
  /** Whatever the provider holds now. */
  readonly isForced: boolean
  /** The change was cut off or failed half way: what it did not write is as before. */
  readonly wasCutOff: boolean
}

export type ProviderControlOptions = {
  /** Stands in for all of Twilio's hosts. */
  readonly twilioApiBaseUrl?: string | undefined
  /** With `/v2`. */
  readonly telnyxApiBaseUrl?: string | undefined
  /** Without a slash at its end. */
  readonly publicBaseUrl: string
  readonly metrics: Pick<Metrics, 'providerUpdates'>
  readonly log: Logger
  /** For all the requests of one operation. */
  readonly timeoutMs?: number
}

const TIMEOUT_MS = 10_000

const TITLES: Readonly<Record<ControlledProvider, string>> = { twilio: 'Twilio', telnyx: 'Telnyx' }

type Wanted = { readonly url: string; readonly label: string }

function wantedSms(
  publicBaseUrl: string,
  provider: ControlledProvider,
  sms: WebhookRequest['sms'],
): Wanted | undefined {
  if (sms === undefined) return undefined
  if (sms === 'enabled') {
    const url = gatewayUrl(publicBaseUrl, provider, 'sms')
    return { url, label: `enabled (${url})` }
  }
  if (sms !== 'disabled') return { url: sms.url, label: sms.url }
  return provider === 'twilio'
    ? { url: TWILIO_DEMO_URL, label: 'disabled (demo URL)' }
    : { url: '', label: 'disabled (empty URL)' }
}

/** What a person is told about a failure that left nothing behind. */
const asFailure = (error: unknown): Error =>
  isProviderError(error) ? error : new ProviderFailure(describeError(error), true, codeOf(error))

export function createProviderControl(options: ProviderControlOptions): ProviderControl {
  const { twilioApiBaseUrl, telnyxApiBaseUrl, publicBaseUrl, metrics, log } = options
  const { timeoutMs: totalMs = TIMEOUT_MS } = options

  function connect(account: ProviderCredentials, timeoutMs: number): ProviderConnection {
    const shared = { publicBaseUrl, timeoutMs }
    return account.provider === 'twilio'
      ? connectTwilio(account, { ...shared, baseUrl: twilioApiBaseUrl })
      : connectTelnyx(account, { ...shared, baseUrl: telnyxApiBaseUrl })
  }

  function accountOf({ accounts, provider }: NumberRef, accountId: string): ProviderCredentials {
    const account = accounts.find((one) => one.accountId === accountId)
    if (account !== undefined) return account
    throw new ProviderObstacle(`The ${TITLES[provider]} account of this change is gone`)
  }

  type Found = { readonly accountId: string; readonly number: ProviderNumber }

  /** Asks one account after the other; one that cannot be asked matters only when no other has the number. */
  async function find({ accounts, provider, phoneNumber }: NumberRef): Promise<Found> {
    if (accounts.length === 0) {
      const missing = provider === 'twilio' ? 'auth token' : 'API key'
      throw new ProviderObstacle(`There is no ${TITLES[provider]} account with an ${missing}`)
    }
    const endsAtMs = Date.now() + totalMs
    let failure: unknown
    for (const account of accounts) {
      try {
        const connection = connect(account, Math.max(1, endsAtMs - Date.now()))
        const number = await connection.findNumber(phoneNumber)
        if (number !== undefined) return { accountId: account.accountId, number }
      } catch (error) {
        failure = error
      }
    }
    if (failure !== undefined) throw failure
    throw new NumberNotAtProvider(`Phone number ${phoneNumber} not found at ${TITLES[provider]}`)
  }

  async function plan(ref: NumberRef, request: WebhookRequest): Promise<WebhookPlan> {
    const { accountId, number } = await find(ref)
    const sms = wantedSms(publicBaseUrl, ref.provider, request.sms)
    const wanted = { voice: request.voiceUrl, sms: sms?.url }
    const { steps, detachedApplications } = await number.plan(wanted)
    const before = {
      provider_account_id: accountId,
      ...{ voice_webhook_url: number.voiceUrl, sms_webhook_url: number.smsUrl },
    }
    const after = {
      provider_account_id: accountId,
      voice_webhook_url: request.voiceUrl ?? before.voice_webhook_url,
      sms_webhook_url: sms === undefined ? before.sms_webhook_url : sms.url || null,
      ...(detachedApplications.length > 0 ? { detached_applications: detachedApplications } : {}),
    }
    return {
      before: { ...before, resources: statesOf(steps, 'before') },
      after: { ...after, resources: statesOf(steps, 'after') },
      updated: {
        ...(request.voiceUrl === undefined ? {} : { voice: request.voiceUrl }),
        ...(sms === undefined ? {} : { sms: sms.label }),
      },
    }
  }

  /** What the log may tell: never the number, nor the provider's words, which may quote it. */
  const factsOf = ({ organizationId, changeId, provider }: NumberRef, error: unknown) => ({
    ...{ organization_id: organizationId, change_id: changeId, provider, code: codeOf(error) },
  })

  /** Counts what became of it; a plan alone is no update. The provider's words go to the one who asked, credentials to nobody. */
  async function count<T>(
    ref: NumberRef,
    outcome: 'applied' | 'rolled_back' | null,
    work: () => Promise<T>,
  ): Promise<T> {
    try {
      const result = await work()
      if (outcome !== null) metrics.providerUpdates.inc({ provider: ref.provider, outcome })
      return result
    } catch (error) {
      const known = asFailure(error)
      const isFailure = known instanceof ProviderFailure
      const what = isFailure ? (known.isUndone ? 'failed' : 'not_undone') : 'refused'
      metrics.providerUpdates.inc({ provider: ref.provider, outcome: what })
      log.warn({ ...factsOf(ref, known), outcome: what }, 'provider.update_failed')
      throw known
    }
  }

  const quietly = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      throw asFailure(error)
    }
  }

  return {
    async readNumber(ref) {
      const { voiceUrl, smsUrl, configuration } = (await quietly(find(ref))).number
      return { voiceUrl, smsUrl, configuration }
    },
    plan: (ref, request) => count(ref, null, () => plan(ref, request)),
    apply: (ref, { before, after }, onMade) =>
      count(ref, 'applied', async () => {
        const account = accountOf(ref, before.provider_account_id)
        const stateOf = (steps: readonly Step[]): WebhookState => ({
          ...after,
          resources: statesOf(steps, 'after'),
        })
        const { resources } = connect(account, totalMs)
        const done = await applySteps(resources, stepsBetween(before, after), {
          openForUndo: () => connect(account, totalMs / 2).resources,
          onMade: (steps) => onMade(stateOf(steps)),
        })
        return stateOf(done)
      }),
    rollBack: (ref, { before, after, isForced, wasCutOff }) =>
      count(ref, 'rolled_back', async () => {
        const account = accountOf(ref, before.provider_account_id)
        const { resources } = connect(account, totalMs)
        const undo = await planUndo(resources, stepsBetween(before, after), {
          ...{ isForced, orBefore: wasCutOff },
        })
        const { writes, removals } = splitRemovals(undo)
        const openForUndo = () => connect(account, totalMs / 2).resources
        await applySteps(resources, writes, { openForUndo })
        for (const removal of removals) {
          await applySteps(resources, [removal], { openForUndo }).catch((error: unknown) => {
            // Nothing uses it any more, and the next change of the number takes it up again.
            const { resource } = removal
            log.warn({ ...factsOf(ref, error), resource }, 'provider.left')
          })
        }
      }),
    listNumbers: (account, limit) => quietly(connect(account, totalMs).listNumbers(limit)),
  }
}
