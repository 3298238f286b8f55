/** Room for many test processes at once. No test outlives a crash of the machine, so nothing is synced. */
export const TEST_POSTGRES_SETTINGS: Readonly<Record<string, string>> = {
  max_connections: '300',
  fsync: 'off',
}

/** As production must have it; the tests' promises rest on it. */
export const TEST_REDIS_SETTINGS: Readonly<Record<string, string>> = {
  appendonly: 'yes',
  appendfsync: 'always',
  'maxmemory-policy': 'noeviction',
}
