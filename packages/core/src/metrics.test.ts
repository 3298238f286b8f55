import { Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { createMetrics, createRegistry } from './metrics.ts'

/** What is published: names and labels are fixed, dashboards and alerts rest on them. */
const PUBLISHED: Readonly<Record<string, readonly string[]>> = {
  switchhook_webhooks_received_total: ['provider', 'outcome'],
  switchhook_webhook_verify_failures_total: ['provider', 'reason'],
  switchhook_webhook_accept_duration_seconds: ['provider'],
  switchhook_attempts_total: ['format', 'outcome'],
  switchhook_attempt_duration_seconds: ['format'],
  switchhook_delivery_latency_seconds: ['format'],
  switchhook_deliveries_total: ['state'],
  switchhook_queue_jobs: ['queue', 'state'],
  switchhook_oldest_pending_delivery_age_seconds: [],
  switchhook_circuits: ['state'],
  switchhook_fallback_emails_total: ['outcome'],
  switchhook_provider_updates_total: ['provider', 'outcome'],
  switchhook_store_degraded: ['store'],
  switchhook_journal_batch_rows: [],
  switchhook_log_batch_rows: [],
  switchhook_requeued_total: ['reason'],
}

const ADDITIONS: Readonly<Record<string, readonly string[]>> = {
  switchhook_spool_items: [],
  switchhook_log_rows_cut_total: [],
  switchhook_own_faults_total: [],
}

/** prom-client shows the labels of a metric to itself only. */
function labelsOf(metric: object): readonly string[] {
  return 'labelNames' in metric ? (metric.labelNames as string[]) : []
}

describe('the metrics', () => {
  const registry = new Registry()
  const metrics = Object.values(createMetrics(registry))

  it('are those published and two more, with exactly their labels', () => {
    const all = registry.getMetricsAsArray() as unknown as { name: string }[]
    const found = Object.fromEntries(all.map((metric) => [metric.name, labelsOf(metric)]))
    expect(found).toEqual({ ...PUBLISHED, ...ADDITIONS })
    expect(metrics).toHaveLength(all.length)
  })

  it('are explained, each in a sentence', async () => {
    for (const metric of await registry.getMetricsAsJSON()) {
      expect(metric.help, metric.name).toMatch(/^[A-Z0-9].{8,}[.…]$/)
    }
  })

  it('have no label that could take a value per tenant, number or URL', () => {
    const labels = new Set(Object.values({ ...PUBLISHED, ...ADDITIONS }).flat())
    expect([...labels].sort()).toEqual(
      ['format', 'outcome', 'provider', 'queue', 'reason', 'state', 'store'].sort(),
    )
  })

  it('can be made twice in one process, beside Node’s own', async () => {
    const registries = [createRegistry(), createRegistry()]
    for (const one of registries) createMetrics(one)
    for (const one of registries) {
      const text = await one.metrics()
      expect(text).toContain('# TYPE switchhook_attempts_total counter')
      expect(text).toContain('nodejs_eventloop_lag_seconds')
      expect(text).toContain('process_resident_memory_bytes')
    }
  })
})
