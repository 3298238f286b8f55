import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

const FAST = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5]
const ATTEMPT = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const LATENCY = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200, 21_600, 86_400]
const ROWS = [1, 2, 5, 10, 20, 50, 100, 200, 500]

/**
 * Every metric of the product, in base units. Labels take few values; never an id, a number or a URL: a histogram
 * per destination would block the event loop for seconds (runtime.md §9).
 */
export function createMetrics(registry: Registry) {
  const shared = { registers: [registry] }
  return {
    webhooksReceived: new Counter({
      name: 'switchhook_webhooks_received_total',
      help: 'Webhooks by what became of them: accepted, duplicate, forged, malformed, unavailable, …',
      labelNames: ['provider', 'outcome'],
      ...shared,
    }),
    verifyFailures: new Counter({
      name: 'switchhook_webhook_verify_failures_total',
      help: 'Webhooks whose signature did not hold, by reason.',
      labelNames: ['provider', 'reason'],
      ...shared,
    }),
    acceptDuration: new Histogram({
      name: 'switchhook_webhook_accept_duration_seconds',
      help: 'From the whole body to the answer.',
      labelNames: ['provider'],
      buckets: FAST,
      ...shared,
    }),
    attempts: new Counter({
      name: 'switchhook_attempts_total',
      help: 'HTTP requests to destinations, by outcome.',
      labelNames: ['format', 'outcome'],
      ...shared,
    }),
    attemptDuration: new Histogram({
      name: 'switchhook_attempt_duration_seconds',
      help: 'From sending a request to the end of its answer.',
      labelNames: ['format'],
      buckets: ATTEMPT,
      ...shared,
    }),
    deliveryLatency: new Histogram({
      name: 'switchhook_delivery_latency_seconds',
      help: 'From the acceptance of an event to its delivery.',
      labelNames: ['format'],
      buckets: LATENCY,
      ...shared,
    }),
    deliveries: new Counter({
      name: 'switchhook_deliveries_total',
      help: 'Deliveries that reached a final state.',
      labelNames: ['state'],
      ...shared,
    }),
    queueJobs: new Gauge({
      name: 'switchhook_queue_jobs',
      help: 'Jobs in Redis.',
      labelNames: ['queue', 'state'],
      ...shared,
    }),
    oldestPendingAge: new Gauge({
      name: 'switchhook_oldest_pending_delivery_age_seconds',
      help: 'Age of the oldest delivery that is neither delivered nor given up.',
      ...shared,
    }),
    circuits: new Gauge({
      name: 'switchhook_circuits',
      help: 'Circuit breakers: open and half-open in the whole fleet, closed as far as this worker uses them.',
      labelNames: ['state'],
      ...shared,
    }),
    ownFaults: new Counter({
      name: 'switchhook_own_faults_total',
      help: 'Requests that reached nobody by our own fault: DNS, egress proxy, network. Charged to no delivery.',
      ...shared,
    }),
    fallbackEmails: new Counter({
      name: 'switchhook_fallback_emails_total',
      help: 'Fallback mails by what the mail server said: sent, failed (tried again), rejected (given up).',
      labelNames: ['outcome'],
      ...shared,
    }),
    providerUpdates: new Counter({
      name: 'switchhook_provider_updates_total',
      help: 'Changes of webhook URLs at a provider.',
      labelNames: ['provider', 'outcome'],
      ...shared,
    }),
    storeDegraded: new Gauge({
      name: 'switchhook_store_degraded',
      help: '1 while this process works without the store.',
      labelNames: ['store'],
      ...shared,
    }),
    journalBatchRows: new Histogram({
      name: 'switchhook_journal_batch_rows',
      help: 'Events per journal commit.',
      buckets: ROWS,
      ...shared,
    }),
    logBatchRows: new Histogram({
      name: 'switchhook_log_batch_rows',
      help: 'Records per commit of the delivery log.',
      buckets: ROWS,
      ...shared,
    }),
    requeued: new Counter({
      name: 'switchhook_requeued_total',
      help: 'Deliveries that Postgres owed and Redis had lost.',
      labelNames: ['reason'],
      ...shared,
    }),
    spoolItems: new Gauge({
      name: 'switchhook_spool_items',
      help: 'Events and attempts that wait in Redis to be written to Postgres.',
      ...shared,
    }),
    logRowsCut: new Counter({
      name: 'switchhook_log_rows_cut_total',
      help: 'Attempts logged without their bodies (the spool was full, Postgres refused them) or not at all (their worker died while Postgres was away).',
      ...shared,
    }),
  }
}

export type Metrics = ReturnType<typeof createMetrics>

/** A registry of its own, so that two processes can live in one test. */
export function createRegistry(): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 10 })
  return registry
}
