import pg from 'pg'

const QUERY_TIMED_OUT = /^Query read timeout/

/**
 * A connection that ends when a statement outlasts `query_timeout`. pg only stops waiting: the statement stays the
 * active one, so with a server that went without a word everything after it would wait too, and a `begin` that is
 * carried out later would put what comes next into a transaction that nobody commits. `Pool.query` ends such a
 * connection by itself; those who take one out of the pool, as Kysely does, give it back.
 */
export class DeadlineClient extends pg.Client {
  constructor(config?: string | pg.ClientConfig) {
    super(config)
    const query = this.query.bind(this) as (...args: unknown[]) => unknown
    this.query = ((...args: unknown[]) => {
      const result = query(...args)
      if (result instanceof Promise) {
        result.catch((error: unknown) => {
          if (error instanceof Error && QUERY_TIMED_OUT.test(error.message)) void this.end()
        })
      }
      return result
    }) as typeof this.query
  }
}
