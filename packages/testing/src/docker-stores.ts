import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { Client } from 'pg'
import type { StartedTestContainer } from 'testcontainers'
import { TEST_POSTGRES_SETTINGS, TEST_REDIS_SETTINGS } from './store-settings.ts'
import { waitFor } from './wait-for.ts'

export type DockerStores = {
  how: string
  databaseUrl: string
  redisUrl: string
  stop(): Promise<void>
}

const ENGINE_TIMEOUT_MS = 5_000
const STARTUP_TIMEOUT_MS = 60_000
const PROBE_TIMEOUT_MS = 2_000

/** Which images are used: those of production unless TEST_POSTGRES_IMAGE or TEST_REDIS_IMAGE say others. */
function imagesOf(env: NodeJS.ProcessEnv): { postgres: string; redis: string } {
  return {
    postgres: env.TEST_POSTGRES_IMAGE || 'postgres:17-alpine',
    redis: env.TEST_REDIS_IMAGE || 'redis:7.4-alpine',
  }
}

/** Whether a Docker engine answers within 5 s and has both images, so that nothing need be fetched. */
export async function isDockerReady(env: NodeJS.ProcessEnv): Promise<boolean> {
  const { postgres, redis } = imagesOf(env)
  const look = async () => {
    const { getContainerRuntimeClient, ImageName } = await loadTestcontainers()
    const { image } = await getContainerRuntimeClient()
    return (
      (await image.exists(ImageName.fromString(postgres))) &&
      (await image.exists(ImageName.fromString(redis)))
    )
  }
  const tooLate = sleep(ENGINE_TIMEOUT_MS, false, { ref: false })
  return await Promise.race([look().catch(() => false), tooLate])
}

/** Starts both containers and waits until both answer; throws, with none left, if one does not within 60 s. */
export async function startDockerStores(env: NodeJS.ProcessEnv): Promise<DockerStores> {
  const images = imagesOf(env)
  const { GenericContainer } = await loadTestcontainers()
  const started: StartedTestContainer[] = []
  const stop = async () => {
    await Promise.all(started.map((container) => container.stop({ timeout: 0 })))
  }
  try {
    const postgres = await new GenericContainer(images.postgres)
      .withEnvironment({
        POSTGRES_USER: 'switchhook',
        POSTGRES_PASSWORD: 'switchhook',
        POSTGRES_DB: 'switchhook',
      })
      .withCommand([
        'postgres',
        ...Object.entries(TEST_POSTGRES_SETTINGS).flatMap(([key, value]) => [
          '-c',
          `${key}=${value}`,
        ]),
      ])
      .withExposedPorts(5432)
      .withStartupTimeout(STARTUP_TIMEOUT_MS)
      .start()
    started.push(postgres)
    const redis = await new GenericContainer(images.redis)
      .withCommand([
        'redis-server',
        ...Object.entries(TEST_REDIS_SETTINGS).flatMap(([key, value]) => [`--${key}`, value]),
      ])
      .withExposedPorts(6379)
      .withStartupTimeout(STARTUP_TIMEOUT_MS)
      .start()
    started.push(redis)
    const databaseUrl = `postgres://switchhook:switchhook@${postgres.getHost()}:${postgres.getMappedPort(5432)}/switchhook`
    const redisUrl = `redis://${redis.getHost()}:${redis.getMappedPort(6379)}`
    // An open port is not enough: while it makes its cluster, the image's Postgres starts twice.
    await waitFor(() => answersQuery(databaseUrl), {
      timeoutMs: STARTUP_TIMEOUT_MS,
      everyMs: 100,
      what: `${images.postgres} to answer`,
    })
    await waitFor(() => answersPing(redisUrl), {
      timeoutMs: STARTUP_TIMEOUT_MS,
      everyMs: 100,
      what: `${images.redis} to answer`,
    })
    const how = `containers of ${images.postgres} and ${images.redis}`
    return { how, databaseUrl, redisUrl, stop }
  } catch (error) {
    await stop().catch(() => undefined)
    throw error
  }
}

async function loadTestcontainers() {
  // Ryuk, its cleaner, is one more image to fetch; stop() cleans up.
  process.env.TESTCONTAINERS_RYUK_DISABLED ??= 'true'
  // Loaded only here: it takes half a second.
  return await import('testcontainers')
}

async function answersQuery(databaseUrl: string): Promise<boolean> {
  const client = new Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: PROBE_TIMEOUT_MS,
    query_timeout: PROBE_TIMEOUT_MS,
  })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('select 1')
    return true
  } finally {
    await client.end()
  }
}

async function answersPing(redisUrl: string): Promise<boolean> {
  const client = new Redis(redisUrl, {
    lazyConnect: true,
    connectTimeout: PROBE_TIMEOUT_MS,
    commandTimeout: PROBE_TIMEOUT_MS,
    retryStrategy: () => null,
  })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return (await client.ping()) === 'PONG'
  } finally {
    client.disconnect()
  }
}
