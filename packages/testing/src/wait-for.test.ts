import { expect, test } from 'vitest'
import { waitFor } from './wait-for.ts'

test('returns the first value that is not undefined, null or false', async () => {
  const answers = [undefined, null, false, 0]
  const value = await waitFor(() => answers.shift(), {
    timeoutMs: 2_000,
    everyMs: 1,
    what: 'a zero',
  })
  expect(value).toBe(0)
})

test('takes a throw for "not yet"', async () => {
  let looks = 0
  const value = await waitFor(
    () => {
      looks += 1
      if (looks < 3) throw new Error('not up')
      return 'up'
    },
    { timeoutMs: 2_000, everyMs: 1, what: 'the server' },
  )
  expect(value).toBe('up')
})

test('names what it waited for and the last value when the time is over', async () => {
  const waiting = waitFor(() => false, { timeoutMs: 30, everyMs: 5, what: 'ten deliveries' })
  await expect(waiting).rejects.toThrow(/30 ms .* ten deliveries; last seen: false/)
})

test('names the last error and keeps it as the cause', async () => {
  const refused = new Error('connection refused')
  const waiting = waitFor(() => Promise.reject(refused), {
    timeoutMs: 30,
    everyMs: 5,
    what: 'the database',
  })
  await expect(waiting).rejects.toMatchObject({
    message: expect.stringContaining('connection refused'),
    cause: refused,
  })
})

test('gives up in time although the function hangs', async () => {
  const waiting = waitFor(() => new Promise<boolean>(() => undefined), {
    timeoutMs: 30,
    what: 'an answer',
  })
  await expect(waiting).rejects.toThrow(/the first look has not ended/)
})
