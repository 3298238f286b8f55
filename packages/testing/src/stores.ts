import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startPostgres } from '@switchhook/embedded/postgres'
import { startRedis } from '@switchhook/embedded/redis'
import { isDockerReady, startDockerStores } from './docker-stores.ts'
import { TEST_POSTGRES_SETTINGS, TEST_REDIS_SETTINGS } from './store-settings.ts'

/** A Postgres and a Redis for a test run. */
export type Stores = {
  /** Which of the three ways was taken, for people. */
  how: string
  databaseUrl: string
  redisUrl: string
  stop(): Promise<void>
}

export type StoresOptions = {
  /** TEST_DATABASE_URL, TEST_REDIS_URL, SWITCHHOOK_TEST_STORES (docker, embedded), TEST_POSTGRES_IMAGE, TEST_REDIS_IMAGE */
  env: NodeJS.ProcessEnv
  onNote: (line: string) => void
}

/**
 * Provides the stores: those of TEST_DATABASE_URL and TEST_REDIS_URL; else containers where a Docker
 * engine answers and has the images (or SWITCHHOOK_TEST_STORES=docker, which may fetch them); else
 * embedded servers in a temporary folder, also when the containers do not come up.
 */
export async function startStores({ env, onNote }: StoresOptions): Promise<Stores> {
  const { TEST_DATABASE_URL: databaseUrl, TEST_REDIS_URL: redisUrl } = env
  if (databaseUrl && redisUrl) {
    const how = 'the servers of TEST_DATABASE_URL and TEST_REDIS_URL'
    return { how, databaseUrl, redisUrl, stop: async () => undefined }
  }
  if (databaseUrl || redisUrl) onNote('TEST_DATABASE_URL and TEST_REDIS_URL work only together')
  const wanted = env.SWITCHHOOK_TEST_STORES
  if (wanted === 'docker' || (wanted !== 'embedded' && (await isDockerReady(env)))) {
    try {
      return await startDockerStores(env)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      onNote(`containers did not start, taking embedded servers: ${reason.split('\n', 1)[0]}`)
    }
  }
  return await startEmbeddedStores()
}

async function startEmbeddedStores(): Promise<Stores> {
  const directory = await mkdtemp(join(tmpdir(), 'switchhook-test-'))
  const started: { stop(): Promise<void> }[] = []
  const stop = async () => {
    await Promise.all(started.map((server) => server.stop()))
    await rm(directory, { recursive: true, force: true })
  }
  try {
    const postgres = await startPostgres({
      dataDir: join(directory, 'postgres'),
      settings: TEST_POSTGRES_SETTINGS,
    })
    started.push(postgres)
    const redis = await startRedis({
      dataDir: join(directory, 'redis'),
      settings: TEST_REDIS_SETTINGS,
    })
    started.push(redis)
    const how = `embedded servers (Redis: ${redis.how})`
    return { how, databaseUrl: postgres.url, redisUrl: redis.url, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
