import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { randomText } from '@switchhook/core/ids'
import { z } from 'zod'

const stateSchema = z.object({
  adminApiKey: z.string(),
  encryptionKeys: z.string(),
  /** The demo tenant, once it is made. Bound to the database: a new one gets a new tenant. */
  demo: z
    .object({
      organizationId: z.string(),
      apiKey: z.string(),
      assistantId: z.number(),
      accountSid: z.string(),
      authToken: z.string(),
      phoneNumber: z.string(),
    })
    .optional(),
  ports: z.record(z.string(), z.number()),
})

/** What `npm start` keeps between runs: keys and ports, in `.switchhook/state.json`, readable by its owner only. */
export type State = z.infer<typeof stateSchema>
export type DemoTenant = NonNullable<State['demo']>

const fileOf = (dataDir: string): string => join(dataDir, 'state.json')

export async function readState(dataDir: string): Promise<State> {
  let text: string
  try {
    text = await readFile(fileOf(dataDir), 'utf8')
  } catch {
    return {
      adminApiKey: `adm_${randomText(32)}`,
      encryptionKeys: `local:${randomBytes(32).toString('base64')}`,
      ports: {},
    }
  }
  const parsed = stateSchema.safeParse(JSON.parse(text))
  // Its keys open what the database holds, so it is never replaced by a guess.
  if (!parsed.success) throw new Error(`${fileOf(dataDir)} is damaged: ${parsed.error.message}`)
  return parsed.data
}

export async function writeState(dataDir: string, state: State): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const draft = `${fileOf(dataDir)}.new`
  await writeFile(draft, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 })
  await rename(draft, fileOf(dataDir))
}
