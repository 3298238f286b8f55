/**
 * Whose fault is it that no connection came about? What is wrong on our side (no file handles, no network, the proxy
 * or the DNS server away) is no attempt: it would be charged to deliveries, and open circuits, of everybody at once.
 */

/** Never the destination's doing, whichever it is. */
const ALWAYS_OURS: ReadonlySet<string> = new Set([
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENOMEM',
  'EADDRNOTAVAIL', // no local port is free
  'ENETDOWN',
  'EACCES', // a firewall of this machine
  'EPERM',
])

/** Of one host its own fault, of many at once ours: the DNS server or the way out is gone. */
const OURS_IF_MANY: ReadonlySet<string> = new Set([
  'EAI_AGAIN',
  'EAI_FAIL',
  'EPROXIED', // the proxy answers 5xx instead of connecting
  'ENETUNREACH',
  'EHOSTUNREACH',
  'ETIMEDOUT', // while connecting
  'UND_ERR_CONNECT_TIMEOUT',
])

const MANY_HOSTS = 3
const WITHIN_MS = 30_000
/** Hosts that are remembered; more say nothing new. */
const MAX_HOSTS = 100

export type EgressWatch = {
  /** Something came through to any host, if only a refusal: our way out works. */
  reached(): void
  /**
   * No connection to `host` came about; `code` is Node's or undici's, `nowMs` any clock that only runs forward.
   * True when that is our own fault: three hosts or more failed so within 30 s, and none was reached since the first.
   */
  isOwnFault(code: string, host: string, nowMs: number): boolean
}

/** What one process knows about its own way out. Without clock and sockets: it is told. */
export function createEgressWatch(): EgressWatch {
  /** Hosts that could not be reached since the last that was, with the time of the latest failure. */
  const failedHosts = new Map<string, number>()
  return {
    reached() {
      if (failedHosts.size > 0) failedHosts.clear()
    },
    isOwnFault(code, host, nowMs) {
      if (ALWAYS_OURS.has(code)) return true
      if (!OURS_IF_MANY.has(code)) {
        failedHosts.clear()
        return false
      }
      failedHosts.delete(host)
      failedHosts.set(host, nowMs)
      for (const [oldest, failedAtMs] of failedHosts) {
        if (nowMs - failedAtMs <= WITHIN_MS && failedHosts.size <= MAX_HOSTS) break
        failedHosts.delete(oldest)
      }
      return failedHosts.size >= MANY_HOSTS
    },
  }
}
