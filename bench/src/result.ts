import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { promisify } from 'node:util'
import type { CpuWindow } from './cpu-usage.ts'
import { formatNumber, formatTable, type Row } from './table.ts'

/** What a bench is held to. */
export type Bar = {
  readonly name: string
  readonly value: number
  readonly limit: number
  /** Whether the value must stay below the limit or reach it. */
  readonly kind: 'at least' | 'at most' | 'below'
  readonly unit: string
}

export type BenchResult = {
  readonly name: string
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly Row[]
  readonly bars: readonly Bar[]
  /** What a reader has to know to trust the numbers. */
  readonly notes: readonly string[]
  readonly settings: Readonly<Record<string, unknown>>
  /** For machines: whatever else was measured. */
  readonly details: unknown
}

const RESULTS = new URL('../results/', import.meta.url)
const GIT_TIMEOUT_MS = 5_000

export function isHeld({ value, limit, kind }: Bar): boolean {
  if (kind === 'at least') return value >= limit
  return kind === 'below' ? value < limit : value <= limit
}

function formatBar(bar: Bar): string {
  const { name, value, limit, kind, unit } = bar
  const verdict = isHeld(bar) ? 'held' : 'MISSED'
  return `  ${verdict.padEnd(7)} ${name}: ${formatNumber(value)}${unit} (bar: ${kind} ${limit}${unit})`
}

export function formatResult(result: BenchResult): string {
  return [
    `\n${result.name}: ${result.title}\n`,
    formatTable(result.columns, result.rows),
    '',
    ...result.bars.map(formatBar),
    ...result.notes.map((note) => `  · ${note}`),
  ].join('\n')
}

/** Who used how much CPU per event, one column per window; a floor's process stands in the row of the one it replaces. */
export function cpuRows(
  windows: readonly { readonly cpu: CpuWindow; readonly events: number }[],
  summed: readonly string[],
): Row[] {
  const roleOf = (name: string): string => name.replace(/^floor /, '')
  const perEvent = windows.map(
    ({ cpu, events }) =>
      new Map(Object.entries(cpu.byProcessUs).map(([name, us]) => [roleOf(name), us / events])),
  )
  const roles = [...new Set(perEvent.flatMap((window) => [...window.keys()]))]
  const sum = (window: ReadonlyMap<string, number>): number =>
    summed.reduce((total, role) => total + (window.get(role) ?? 0), 0)
  return [
    ...roles.map(
      (role): Row => [`CPU µs per event, ${role}`, ...perEvent.map((window) => window.get(role))],
    ),
    [`CPU µs per event, ${summed.join(' + ')}`, ...perEvent.map(sum)],
    [
      'everything else on the machine, % of its CPU',
      ...windows.map(({ cpu }) => cpu.othersShare * 100),
    ],
  ]
}

const QUIET_SHARE = 0.05

/** Did nothing else use the machine while it was measured? */
export function isQuiet({ cpu }: { readonly cpu: CpuWindow }): boolean {
  return cpu.othersShare <= QUIET_SHARE
}

/** One note when anything else used the machine while it was measured. */
export function findNoise(windows: readonly { readonly cpu: CpuWindow }[]): string[] {
  const share = Math.max(...windows.map(({ cpu }) => cpu.othersShare))
  if (share <= QUIET_SHARE) return []
  return [
    `NOISE: something else took up to ${formatNumber(share * 100)} % of the machine: run it again when it is quiet.`,
  ]
}

/** CPU per event summed over some processes. */
export function sumCpuUs(cpu: CpuWindow, events: number, names: readonly string[]): number {
  return names.reduce((sum, name) => sum + (cpu.byProcessUs[name] ?? 0), 0) / events
}

async function git(...args: string[]): Promise<string> {
  const options = { timeout: GIT_TIMEOUT_MS, cwd: new URL('.', import.meta.url) }
  const { stdout } = await promisify(execFile)('git', args, options).catch(() => ({ stdout: '' }))
  return stdout.trim()
}

/** Writes `bench/results/<name>.json` and returns its path relative to the repository. */
export async function writeResult(result: BenchResult): Promise<string> {
  const [commit, changes] = await Promise.all([git('rev-parse', 'HEAD'), git('status', '--short')])
  const processors = cpus()
  const record = {
    name: result.name,
    date: new Date().toISOString(),
    node: process.version,
    cores: processors.length,
    processor: processors[0]?.model ?? 'unknown',
    commit: commit || 'unknown',
    hasUncommittedChanges: changes !== '',
    settings: result.settings,
    table: { columns: result.columns, rows: result.rows },
    bars: result.bars.map((bar) => ({ ...bar, isHeld: isHeld(bar) })),
    notes: result.notes,
    details: result.details,
  }
  await mkdir(RESULTS, { recursive: true })
  await writeFile(new URL(`${result.name}.json`, RESULTS), `${JSON.stringify(record, null, 2)}\n`)
  return `bench/results/${result.name}.json`
}
