/** One line of a table: what, then one cell per column. */
export type Row = readonly [label: string, ...cells: (number | string | undefined)[]]

const GAP = 3

/** Three significant digits and thousands separators; '–' for nothing. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–'
  const size = Math.abs(value)
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  })
}

function formatCell(cell: number | string | undefined): string {
  if (cell === undefined) return '–'
  return typeof cell === 'number' ? formatNumber(cell) : cell
}

/** Labels to the left, numbers to the right. */
export function formatTable(columns: readonly string[], rows: readonly Row[]): string {
  const lines = [
    ['', ...columns],
    ...rows.map(([label, ...cells]) => [label, ...columns.map((_, at) => formatCell(cells[at]))]),
  ]
  const widthOf = (column: number): number =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0))
  const widths = ['', ...columns].map((_, column) => widthOf(column))
  const align = (text: string, column: number): string =>
    column === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart((widths[column] ?? 0) + GAP)
  return lines.map((line) => `  ${line.map(align).join('').trimEnd()}`).join('\n')
}
