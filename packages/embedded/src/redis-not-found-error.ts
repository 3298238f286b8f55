/** No usable redis-server on this machine. The message says what was tried and what to type. */
export class RedisNotFoundError extends Error {
  override name = 'RedisNotFoundError'

  constructor(reason: string, options?: ErrorOptions) {
    super(
      `${reason}
Switchhook needs Redis 6.2 or newer. Do one of these, then try again:
  apt-get install redis-server     (Debian, Ubuntu)
  brew install redis               (macOS)
  set REDIS_URL                    (a Redis that already runs, e.g. redis://127.0.0.1:6379)`,
      options,
    )
  }
}
