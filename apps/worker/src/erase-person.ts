import type { Logger } from '@switchhook/core/log'
import type { Queues } from '@switchhook/core/queue'
import type { Spool } from '@switchhook/core/spool'
import { type DatabaseHandle, isDataError } from '@switchhook/core/store/database'
import { areInDigestOnItsWay } from '@switchhook/core/store/mail-digest-lines'
import {
  advanceErasure,
  type Erasure,
  type ErasureChange,
  type ErasurePhase,
  failErasure,
  findRunningErasures,
  type RunningErasure,
} from '@switchhook/core/store/privacy'
import {
  cancelErased,
  deleteQuarantined,
  type EventRef,
  eraseCalls,
  eraseEvents,
  eraseLogs,
  findCallsOf,
  findEventsOf,
  findUnsettled,
  type OwedDelivery,
} from '@switchhook/core/store/privacy-erase'
import { isAboutNumber } from '@switchhook/core/store/privacy-mentions'
import { findClockMs } from '@switchhook/core/store/replay-jobs'
import type { Transaction } from '@switchhook/core/store/transaction'

export type ErasePersonDeps = {
  readonly database: Pick<DatabaseHandle, 'db' | 'pool'>
  readonly queues: Pick<Queues, 'removeDelivery' | 'findMissing'>
  readonly spool: Pick<Spool, 'length' | 'dropAside'>
  /** How long after it was asked for an erasure begins: what was being accepted then is in Postgres by then. */
  readonly settleMs: number
  readonly log: Logger
}

const PAGE = 200
const MAX_AT_ONCE = 20
/** What came up to this long after the request goes too: clocks differ. */
const HORIZON_MS = 1_000
const REASON = 'The event was erased.'

/** `wait`: a worker has a delivery of the person in hand just now, or the spool holds what Postgres does not know. */
type Step = Erasure | 'wait'

/**
 * Takes what is to be done for these events away from the workers, and cancels it. False while a worker has some of it
 * in hand: what it does would be written down after the erasure; or while a digest that names them is on its way, which
 * is in the hand of whoever sends it. First the jobs: the other way round they would still be sent.
 */
async function takeAway(
  { database, queues }: ErasePersonDeps,
  events: readonly EventRef[],
): Promise<{ isQuiet: boolean; cancelled: number }> {
  const unsettled = await findUnsettled(database.db, events)
  if (unsettled.length === 0) {
    return { isQuiet: !(await areInDigestOnItsWay(database.pool, events)), cancelled: 0 }
  }
  const drop = async (deliveries: readonly OwedDelivery[]) => {
    for (const { id, destinationId } of deliveries) await queues.removeDelivery(id, destinationId)
  }
  await drop(unsettled)
  const cancelled = await cancelErased(database.db, events, REASON)
  // Who looked a moment ago may have made a job since.
  await drop(unsettled)
  const jobs = unsettled.map(({ id, destinationId }) => ({ deliveryId: id, destinationId }))
  const missing = await queues.findMissing(jobs)
  const isInHand = missing.size < jobs.length || (await areInDigestOnItsWay(database.pool, events))
  return { isQuiet: !isInHand, cancelled }
}

type Found = {
  readonly events: readonly EventRef[]
  readonly position: ErasureChange['position']
  readonly more?: (tx: Transaction) => Promise<Partial<ErasureChange>>
}

async function eraseFound(
  deps: ErasePersonDeps,
  erasure: RunningErasure,
  { events, position, more }: Found,
): Promise<Step> {
  const { isQuiet, cancelled } = await takeAway(deps, events)
  const isKnown = isQuiet && (await deps.spool.length()) === 0
  return await deps.database.db.transaction().execute(async (tx) => {
    if (!isKnown) {
      // The same page again, soon; the cancelled ones are counted now or never.
      const { position: here = { at: null, id: '' } } = erasure
      if (cancelled > 0) {
        await advanceErasure(tx, erasure, { position: here, deliveriesCancelled: cancelled })
      }
      return 'wait'
    }
    const erased = await eraseEvents(tx, erasure, events)
    // Replays that somebody asked for since.
    const late = await cancelErased(tx, events, REASON)
    const also = await more?.(tx)
    return await advanceErasure(tx, erasure, {
      ...{ ...erased, ...also, position, deliveriesCancelled: cancelled + late },
    })
  })
}

const PHASES = {
  async calls(deps, erasure) {
    const after = erasure.position?.id ?? ''
    const { found, events, next } = await findCallsOf(deps.database.db, erasure, after, PAGE)
    const position = next === undefined ? 'next' : { at: null, id: next }
    const more = async (tx: Transaction) => {
      await eraseCalls(tx, erasure, found)
      return { callsErased: found.length }
    }
    return await eraseFound(deps, erasure, { events, position, more })
  },
  async events(deps, erasure) {
    const until = new Date(erasure.createdAtMs + HORIZON_MS)
    const after = positionOf(erasure)
    const page = await findEventsOf(deps.database.db, erasure, after, until, PAGE)
    return await eraseFound(deps, erasure, { events: page.found, position: page.next ?? 'next' })
  },
  async quarantine({ database, spool }, erasure) {
    const { organizationId, phoneNumber } = erasure
    await spool.dropAside((item) => isAboutNumber(item, organizationId, phoneNumber))
    return await database.db.transaction().execute(async (tx) => {
      const count = await deleteQuarantined(tx, erasure, PAGE)
      const here = erasure.position ?? { at: null, id: '' }
      const position = count < PAGE ? 'next' : here
      return await advanceErasure(tx, erasure, { position, quarantinedDeleted: count })
    })
  },
  async logs({ database }, erasure) {
    return await database.db.transaction().execute(async (tx) => {
      const until = new Date(await findClockMs(tx))
      const page = await eraseLogs(tx, erasure, positionOf(erasure), until, PAGE)
      const { attemptsErased, next } = page
      return await advanceErasure(tx, erasure, { position: next ?? 'next', attemptsErased })
    })
  },
} satisfies Record<ErasurePhase, (deps: ErasePersonDeps, erasure: RunningErasure) => Promise<Step>>

function positionOf({ position }: RunningErasure): { at: Date; id: string } | undefined {
  return position === undefined || position.at === null
    ? undefined
    : { at: position.at, id: position.id }
}

/**
 * One step of every erasure that runs, oldest first: a page of one table, in one commit with how far it came. Killed at
 * any point it does the page again. Returns how many run and need not wait: their next step is due at once. Throws when
 * a store is away.
 */
export async function erasePersons(deps: ErasePersonDeps): Promise<number> {
  const { database, log } = deps
  const nowMs = await findClockMs(database.db)
  const running = await findRunningErasures(database.db, nowMs - deps.settleMs, MAX_AT_ONCE)
  if (running.length === 0) return 0
  // What was accepted while Postgres was away is drained first.
  if ((await deps.spool.length()) > 0) return 0
  let due = 0
  for (const erasure of running) {
    const { id, phase } = erasure
    try {
      const step = await PHASES[phase](deps, erasure)
      if (step === 'wait') continue
      if (step.state === 'running') due += 1
      else {
        const { organizationId, eventsErased, deliveriesCancelled, attemptsErased } = step
        log.info(
          {
            ...{ erasure_id: id, organization_id: organizationId, events: eventsErased },
            ...{ deliveries: deliveriesCancelled, attempts: attemptsErased },
          },
          'erasure.finished',
        )
      }
    } catch (error) {
      if (!isDataError(error)) throw error
      log.error({ erasure_id: id, phase, error }, 'erasure.failed')
      await failErasure(database.db, id, `Postgres refused a step of the phase "${phase}".`)
    }
  }
  return due
}
