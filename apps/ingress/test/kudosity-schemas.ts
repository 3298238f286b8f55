import { readFileSync } from 'node:fs'
import Ajv from 'ajv'
import addFormats from 'ajv-formats'
import { expect } from 'vitest'

const NAME = 'kudosity-openapi.json'

const description: { components: { schemas: Record<string, object> } } = JSON.parse(
  readFileSync(new URL(`fixtures/${NAME}`, import.meta.url), 'utf8'),
)

// OpenAPI 3.0: `example`, `nullable` and the like are no JSON Schema.
const ajv = new Ajv.default({ strict: false, allErrors: true })
addFormats.default(ajv)
ajv.addSchema(description, NAME)

/** Fails unless the value is what Kudosity's API description says it is. */
export function expectKudosity(
  schema: 'WebhookResponse' | 'WebhookListResponse' | 'WebhookDeleteResponse',
  value: unknown,
): void {
  const validate = ajv.compile({ $ref: `${NAME}#/components/schemas/${schema}` })
  validate(value)
  expect(validate.errors ?? []).toEqual([])
}
