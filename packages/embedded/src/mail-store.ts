import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { addEnvelope, type Envelope, parseMail, type StoredMail } from './stored-mail.ts'

const maxTotalBytes = 128 * 1024 * 1024

export type MailStore = {
  /** Resolves when the mail is kept, on disk too when there is a folder. */
  add(received: Buffer, envelope: Envelope): Promise<StoredMail>
  /** Newest first. */
  mails(): readonly StoredMail[]
  find(id: string): { mail: StoredMail; raw: Buffer } | undefined
  clear(): Promise<void>
}

type Entry = { mail: StoredMail; raw: Buffer }

/**
 * Opens a store that keeps the newest `maxMails` mails, 128 MiB in all. With `dir` each is also a file
 * `<id>.eml` there, and those found there are loaded. An id starts with the time of reception in ms.
 */
export async function openMailStore(maxMails: number, dir?: string): Promise<MailStore> {
  const entries: Entry[] = []
  let totalBytes = 0

  const keep = async (entry: Entry) => {
    entries.push(entry)
    totalBytes += entry.raw.length
    while (entries.length > maxMails || (totalBytes > maxTotalBytes && entries.length > 1)) {
      const oldest = entries.shift()
      if (oldest === undefined) return
      totalBytes -= oldest.raw.length
      await removeFile(dir, oldest.mail.id)
    }
  }

  if (dir !== undefined) {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    for (const id of await listIds(dir)) {
      const raw = await readFile(mailFile(dir, id))
      const mail = await parseMail(id, receivedAtOf(id), raw).catch(() => undefined)
      if (mail !== undefined) await keep({ mail, raw })
    }
  }

  return {
    add: async (received, envelope) => {
      const id = `${Date.now()}-${randomBytes(4).toString('hex')}`
      const raw = addEnvelope(received, envelope)
      const mail = await parseMail(id, receivedAtOf(id), raw)
      if (dir !== undefined) await writeMailFile(dir, id, raw)
      await keep({ mail, raw })
      return mail
    },
    mails: () => entries.map((entry) => entry.mail).reverse(),
    find: (id) => entries.find((entry) => entry.mail.id === id),
    clear: async () => {
      const removed = entries.splice(0)
      totalBytes = 0
      for (const { mail } of removed) await removeFile(dir, mail.id)
    },
  }
}

function receivedAtOf(id: string): Date {
  return new Date(Number(id.split('-')[0]))
}

/** Oldest first: the times have 13 digits until the year 2286. */
async function listIds(dir: string): Promise<string[]> {
  const names = await readdir(dir)
  return names
    .map((name) => /^(\d{13}-[0-9a-f]{8})\.eml$/.exec(name)?.[1])
    .filter((id) => id !== undefined)
    .sort()
}

function mailFile(dir: string, id: string): string {
  return join(dir, `${id}.eml`)
}

async function writeMailFile(dir: string, id: string, raw: Buffer): Promise<void> {
  const draft = `${mailFile(dir, id)}.part`
  await writeFile(draft, raw, { mode: 0o600 })
  await rename(draft, mailFile(dir, id))
}

async function removeFile(dir: string | undefined, id: string): Promise<void> {
  if (dir !== undefined) await rm(mailFile(dir, id), { force: true })
}
