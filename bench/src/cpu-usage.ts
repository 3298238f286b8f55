import { readFileSync } from 'node:fs'
import { epochMs } from './clock.ts'

/** What a window of time cost. */
export type CpuWindow = {
  readonly seconds: number
  /** CPU microseconds by process, its children included. */
  readonly byProcessUs: Readonly<Record<string, number>>
  /** Share of the whole machine, 0 to 1, that went to anybody else: other programs, kernel threads, the hypervisor. */
  readonly othersShare: number
}

export type CpuSampler = {
  /** The window may begin and end between two samples; what lies between is interpolated. */
  stop(): (fromMs: number, toMs: number) => CpuWindow
}

type Sample = {
  readonly atMs: number
  readonly byProcessUs: readonly number[]
  readonly busyUs: number
  readonly machineUs: number
}

const SAMPLE_EVERY_MS = 100
/** USER_HZ is 100 in every Linux that Node runs on, whatever the kernel's own tick. */
const US_PER_TICK = 10_000

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined // It has ended; what it used is in its parent's account.
  }
}

/** `withReaped` adds the children that have ended. Source: proc_pid_stat(5), fields 14 to 17. */
function cpuOfUs(pid: number, withReaped: boolean): number {
  const stat = read(`/proc/${pid}/stat`)
  if (stat === undefined) return 0
  // The name, field 2, may hold spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = fields.slice(11, withReaped ? 15 : 13)
  return ticks.reduce((sum, field) => sum + Number(field), 0) * US_PER_TICK
}

/** The children of a process that has one thread that forks: Postgres's backends, Redis's AOF rewrite. */
export function findChildren(pid: number): number[] {
  const text = read(`/proc/${pid}/task/${pid}/children`) ?? ''
  return text.split(' ').filter(Boolean).map(Number)
}

/** The bench's own children are watched by themselves. */
function usedBy(pid: number): number {
  if (pid === process.pid) return cpuOfUs(pid, false)
  return findChildren(pid).reduce((sum, child) => sum + cpuOfUs(child, false), cpuOfUs(pid, true))
}

function takeSample(pids: readonly number[]): Sample {
  const machine = (read('/proc/stat') ?? '').split('\n', 1)[0] ?? ''
  const [user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, softIrq = 0, stolen = 0] =
    machine.split(/\s+/).slice(1).map(Number)
  const busy = user + nice + system + irq + softIrq + stolen
  return {
    atMs: epochMs(),
    byProcessUs: pids.map(usedBy),
    busyUs: busy * US_PER_TICK,
    machineUs: (busy + idle + waiting) * US_PER_TICK,
  }
}

function interpolate(samples: readonly Sample[], atMs: number): Sample {
  const next = samples.findIndex((sample) => sample.atMs >= atMs)
  const later = samples.at(next) // -1, after the last one: the last one
  const earlier = samples[Math.max(0, next - 1)]
  if (later === undefined || earlier === undefined) throw new Error('no CPU sample was taken')
  if (next <= 0) return later
  const share = (atMs - earlier.atMs) / (later.atMs - earlier.atMs)
  const between = (from: number, to: number): number => from + share * (to - from)
  return {
    atMs,
    byProcessUs: later.byProcessUs.map((us, index) => between(earlier.byProcessUs[index] ?? 0, us)),
    busyUs: between(earlier.busyUs, later.busyUs),
    machineUs: between(earlier.machineUs, later.machineUs),
  }
}

/** Watches processes by name and pid. Linux only: the numbers come from /proc. */
export function startCpuSampler(pids: Readonly<Record<string, number>>): CpuSampler {
  const watched = Object.values(pids)
  const samples = [takeSample(watched)]
  const timer = setInterval(() => samples.push(takeSample(watched)), SAMPLE_EVERY_MS)
  return {
    stop() {
      clearInterval(timer)
      samples.push(takeSample(watched))
      return (fromMs, toMs) => {
        const from = interpolate(samples, fromMs)
        const to = interpolate(samples, toMs)
        const used = to.byProcessUs.map((us, index) => us - (from.byProcessUs[index] ?? 0))
        const others = to.busyUs - from.busyUs - used.reduce((sum, us) => sum + us, 0)
        return {
          seconds: (to.atMs - from.atMs) / 1_000,
          byProcessUs: Object.fromEntries(
            Object.keys(pids).map((name, index) => [name, used[index] ?? 0]),
          ),
          othersShare: Math.max(0, others / (to.machineUs - from.machineUs)),
        }
      }
    },
  }
}

function kilobytesOf(path: string, field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(read(path) ?? '')
  return Number(match?.[1] ?? 0)
}

/**
 * Peak resident memory in MB since the process started. A process with children (Postgres) shares most of its pages
 * with them, so there it is the sum of their proportional shares now.
 */
export function readMemoryMb(pid: number): number {
  const children = findChildren(pid)
  const kilobytes =
    children.length === 0
      ? kilobytesOf(`/proc/${pid}/status`, 'VmHWM')
      : [pid, ...children].reduce(
          (sum, one) => sum + kilobytesOf(`/proc/${one}/smaps_rollup`, 'Pss'),
          0,
        )
  return Math.round(kilobytes / 1_024)
}
