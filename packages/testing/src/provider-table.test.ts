import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

const ROOT = new URL('../../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')

type Golden = Readonly<Record<string, { readonly events: readonly { readonly type: string }[] }>>
type Cell = {
  readonly provider: string
  readonly type: string
  readonly format: string
  readonly title: string
}

function cellsOf(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
}

/** The table of docs/providers.md, cell by cell. */
function readTable(): readonly Cell[] {
  const lines = read('docs/providers.md').split('\n')
  const start = lines.findIndex((line) => line.startsWith('| provider | event type |'))
  const [, , ...formats] = cellsOf(lines[start] ?? '')
  const rows = lines.slice(start + 2).filter((line) => line.startsWith('|'))
  return rows.flatMap((line) => {
    const [provider = '', type = '', ...titles] = cellsOf(line)
    return formats.map((format, index) => ({ provider, type, format, title: titles[index] ?? '' }))
  })
}

const readGolden = (provider: string): Golden =>
  JSON.parse(read(`packages/core/src/formats/fixtures/${provider}.json`)) as Golden

const table = readTable()
const providers = [...new Set(table.map(({ provider }) => provider))]

describe('the table of providers, event types and formats', () => {
  test('names a golden case in every cell that has that type in that format', () => {
    const missing = table.filter(({ provider, type, format, title }) => {
      const events = readGolden(provider)[title]?.events ?? []
      return !events.some((event) => event.type === type && (format === 'raw' || format in event))
    })
    expect(missing).toEqual([])
    expect(table.length).toBeGreaterThan(200)
  })

  test.each(providers)('leaves out no event type that %s can say', (provider) => {
    const said = Object.values(readGolden(provider)).flatMap(({ events }) =>
      events.map(({ type }) => type),
    )
    const rows = table.filter((cell) => cell.provider === provider).map(({ type }) => type)
    expect([...new Set(rows)].sort()).toEqual([...new Set(said)].sort())
  })

  test('speaks of tests that run: one for each case, event and format', () => {
    const source = read('packages/core/src/formats/golden.test.ts')
    expect(source).toMatch(/it\(`is delivered as \$\{type\}\$\{nth\} in \$\{format\}/)
    expect(source).toMatch(/it\(`is delivered as \$\{type\}\$\{nth\} in raw/)
    expect(source).not.toMatch(/\.(skip|only|todo)\b/)
  })
})
