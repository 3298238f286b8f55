import { expect } from 'vitest'
import type { Answer } from './api-test-app.ts'

/** A 422 in FastAPI's shape that names the place. */
export function expectIssues(answer: Answer): void {
  expect(answer.status, JSON.stringify(answer.body)).toBe(422)
  expect(answer.body.detail.length).toBeLessThanOrEqual(20)
  for (const issue of answer.body.detail) {
    expect(issue).toEqual({
      loc: expect.arrayContaining([expect.stringMatching(/^(body|query)$/)]),
      msg: expect.any(String),
      type: expect.any(String),
    })
  }
}
