import { codeOf, describeError, ProviderFailure, ProviderStateChanged } from './provider-errors.ts'
import {
  type Fields,
  holdsFields,
  MADE_ID,
  pickFields,
  type ResourceAccess,
  type Step,
} from './webhook-state.ts'

/** Each undoing is tried this often: what failed once may have been a moment's trouble. */
const UNDO_TRIES = 2

function fillIn(fields: Fields, madeId: string | null): Fields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, value === MADE_ID ? madeId : value]),
  )
}

/** The steps that are still to come, with the id of what was made for them. */
function fillInSteps(steps: readonly Step[], madeId: string | null): Step[] {
  const next = steps.findIndex(({ id }) => id === null)
  const ends = next === -1 ? steps.length : next
  return steps.map((step, index) =>
    index < ends && step.after !== null ? { ...step, after: fillIn(step.after, madeId) } : step,
  )
}

async function applyStep(access: ResourceAccess, step: Step, madeId: string | null): Promise<Step> {
  const { resource, id, before, after } = step
  if (after === null) {
    if (id !== null) await access.remove(resource, id)
    return step
  }
  const fields = fillIn(after, madeId)
  if (id !== null) await access.write(resource, id, fields)
  const written = { resource, before, after: fields }
  return { ...written, id: id ?? (await access.create(resource, fields)) }
}

async function undoStep(access: ResourceAccess, { resource, id, before }: Step): Promise<void> {
  if (id === null) return
  if (before === null) await access.remove(resource, id)
  else await access.write(resource, id, before)
}

/** Latest first. The sentences say what could not be undone. */
async function undoSteps(access: ResourceAccess, steps: readonly Step[]): Promise<string[]> {
  const left: string[] = []
  for (const step of steps.toReversed()) {
    for (let tries = 1; ; tries += 1) {
      try {
        await undoStep(access, step)
        break
      } catch (error) {
        if (tries < UNDO_TRIES) continue
        left.push(`${step.resource} ${step.id} was not put back (${describeError(error)})`)
        break
      }
    }
  }
  return left
}

export type ApplyOptions = {
  /** Opened when something is to be undone: the time of the first one may be used up by then. */
  readonly openForUndo: () => ResourceAccess
  /** After a step that made something: its id must not be forgotten. */
  readonly onMade?: (steps: readonly Step[]) => Promise<void>
}

/**
 * Writes every step in order, or none: when one fails, it and those before it are undone. The steps as they were
 * written, with the ids of what they made. Throws `ProviderFailure`.
 */
export async function applySteps(
  access: ResourceAccess,
  steps: readonly Step[],
  { openForUndo, onMade }: ApplyOptions,
): Promise<Step[]> {
  const done: Step[] = []
  let madeId: string | null = null
  for (const [index, step] of steps.entries()) {
    try {
      const written = await applyStep(access, step, madeId)
      done.push(written)
      if (step.id !== null) continue
      madeId = written.id
      await onMade?.([...done, ...fillInSteps(steps.slice(index + 1), madeId)])
    } catch (error) {
      // What timed out may have been done all the same. What was to be removed is not made again.
      const mayBeDone = step.after === null ? [] : [step]
      const isDone = done.length > index
      const left = await undoSteps(openForUndo(), isDone ? done : [...done, ...mayBeDone])
      const text = [describeError(error), ...left].join('; ')
      throw new ProviderFailure(text, left.length === 0, codeOf(error))
    }
  }
  return done
}

/**
 * The steps that put back what `steps` have changed, latest first. Unless `isForced`, throws `ProviderStateChanged`
 * when a resource holds neither what the change has left there nor (`orBefore`, after a change that was cut off) what
 * was there before it.
 */
export async function planUndo(
  access: ResourceAccess,
  steps: readonly Step[],
  { isForced, orBefore }: { readonly isForced: boolean; readonly orBefore: boolean },
): Promise<Step[]> {
  const undo: Step[] = []
  for (const { resource, id, before, after } of steps.toReversed()) {
    if (id === null || after === null) continue
    const current = await access.read(resource, id)
    const isKnown =
      current !== undefined &&
      (holdsFields(current, after) || (orBefore && before !== null && holdsFields(current, before)))
    if (!isKnown && !isForced) {
      const what = current === undefined ? 'is gone' : 'has been changed since'
      throw new ProviderStateChanged(`${resource} ${id} ${what}`)
    }
    if (before === null && current === undefined) continue
    const now = pickFields(current ?? {}, Object.keys(after))
    undo.push({ resource, id, before: now, after: before })
  }
  return undo
}

/** What a removal leaves behind is no failure: nothing uses it any more. Returns the steps that must not fail. */
export function splitRemovals(steps: readonly Step[]): { writes: Step[]; removals: Step[] } {
  return {
    writes: steps.filter(({ after }) => after !== null),
    removals: steps.filter(({ after }) => after === null),
  }
}
