/**
 * Milliseconds since 1970 with a fraction, monotonic within a process. Processes of one machine agree on it to well
 * below a millisecond, which is what lets one process note the sending and another the arrival.
 */
export function epochMs(): number {
  return performance.timeOrigin + performance.now()
}
