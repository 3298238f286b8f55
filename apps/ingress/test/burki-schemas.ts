import { readFileSync } from 'node:fs'
import Ajv from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { expect } from 'vitest'

const NAME = 'burki-openapi.json'

type Description = {
  components: { schemas: Record<string, { properties: Record<string, unknown> }> }
}

const description: Description = JSON.parse(
  readFileSync(new URL(`fixtures/${NAME}`, import.meta.url), 'utf8'),
)

// The document's own words (openapi, paths) are no JSON Schema.
const ajv = new Ajv.default({ strict: false, allErrors: true })
addFormats.default(ajv)
ajv.addSchema(description, NAME)

/** Fails unless the value is what Burki's API description says it is, with all of its fields and no other. */
export function expectBurki(schema: string, value: Record<string, unknown>): void {
  const validate = ajv.compile({ $ref: `${NAME}#/components/schemas/${schema}` })
  validate(value)
  expect(validate.errors ?? []).toEqual([])
  const { properties = {} } = description.components.schemas[schema] ?? {}
  expect(Object.keys(value).sort()).toEqual(Object.keys(properties).sort())
}
