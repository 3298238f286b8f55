import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { chooseNonRoot } from '../src/non-root.ts'
import { findPostgresBinaries } from '../src/postgres-binaries.ts'
import { createCluster } from '../src/postgres-cluster.ts'
import { makeTempFolder } from './temp-folder.ts'

const isRoot = process.getuid?.() === 0

test('root can run Postgres from a folder closed to others where user namespaces are forbidden', async ({
  skip,
}) => {
  skip(!isRoot, 'only root can try this')
  const closed = await makeTempFolder()
  const dataDir = join(closed, 'data')
  await mkdir(dataDir)
  const programs = join(closed, 'programs')
  await mkdir(programs)
  await writeFile(join(programs, 'unshare'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  vi.stubEnv('PATH', `${programs}:${process.env.PATH}`)
  onTestFinished(() => void vi.unstubAllEnvs())

  const installed = await findPostgresBinaries(dataDir)
  const native = join(closed, 'native')
  await cp(join(dirname(installed.postgres), '..'), native, {
    recursive: true,
    verbatimSymlinks: true,
  })
  const binaries = {
    ...installed,
    initdb: join(native, 'bin', 'initdb'),
    postgres: join(native, 'bin', 'postgres'),
  }
  const nonRoot = await chooseNonRoot(dataDir, binaries.postgres)
  expect(nonRoot.how).toBe('as uid 65534')
  await createCluster(dataDir, binaries, nonRoot)
  expect(await readFile(join(dataDir, 'cluster', 'PG_VERSION'), 'utf8')).toBe('17\n')
})
