import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createTransport, type SendMailOptions } from 'nodemailer'
import { expect, onTestFinished, test } from 'vitest'
import { type MailInbox, type MailInboxOptions, startMailInbox } from '../src/mail-inbox.ts'
import type { StoredMail } from '../src/stored-mail.ts'
import { waitUntil } from '../src/wait-until.ts'
import { makeTempFolder } from './temp-folder.ts'

async function start(options: MailInboxOptions = {}): Promise<MailInbox> {
  const inbox = await startMailInbox(options)
  onTestFinished(() => inbox.stop())
  return inbox
}

async function send(inbox: { smtpUrl: string }, mail: SendMailOptions): Promise<void> {
  const transport = createTransport(inbox.smtpUrl)
  await transport.sendMail({ from: 'fallback@switchhook.example', to: 'ops@pbx.example', ...mail })
  transport.close()
}

async function read(inbox: { httpUrl: string }, path: string): Promise<string> {
  const response = await fetch(inbox.httpUrl + path)
  expect(response.status).toBe(200)
  return await response.text()
}

async function onlyMail(inbox: MailInbox): Promise<StoredMail> {
  const mails: StoredMail[] = JSON.parse(await read(inbox, '/api/mails'))
  const [mail] = mails
  if (mail === undefined || mails.length > 1) throw new Error(`${mails.length} mails`)
  return mail
}

test('a mail sent by SMTP is in the JSON with all its parts', async () => {
  const inbox = await start()
  await send(inbox, {
    from: 'Switchhook <fallback@switchhook.example>',
    to: 'Ann <ann@pbx.example>',
    bcc: 'bob@pbx.example',
    subject: 'SMS from +15551230001 ☎',
    text: 'Grüße',
    html: '<p>Grüße</p>',
    messageId: '<evt_1@switchhook.example>',
    headers: { 'X-Event-Id': 'evt_1' },
    attachments: [{ filename: 'photo.png', content: Buffer.alloc(3000), contentType: 'image/png' }],
  })
  const mail = await onlyMail(inbox)
  expect(mail).toEqual({
    id: expect.any(String),
    from: 'Switchhook <fallback@switchhook.example>',
    to: ['ann@pbx.example', 'bob@pbx.example'],
    subject: 'SMS from +15551230001 ☎',
    text: 'Grüße',
    html: '<p>Grüße</p>',
    messageId: '<evt_1@switchhook.example>',
    receivedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    headers: expect.objectContaining({ 'x-event-id': 'evt_1' }),
    attachments: [{ filename: 'photo.png', contentType: 'image/png', sizeBytes: 3000 }],
  })
  expect(inbox.mails()).toEqual([mail])
})

test('the list shows the newest first and reloads itself', async () => {
  const inbox = await start()
  await send(inbox, { subject: 'older' })
  await send(inbox, { subject: 'newer' })
  const page = await read(inbox, '/')
  expect(page.indexOf('newer')).toBeLessThan(page.indexOf('older'))
  expect(page).toContain('<meta http-equiv="refresh" content="5">')
})

test('markup in any field of a mail is shown as text', async () => {
  const inbox = await start()
  const script = '<script>alert(1)</script>'
  await send(inbox, {
    from: { name: script, address: 'a@b.example' },
    subject: script,
    text: script,
    attachments: [{ filename: `${script}.txt`, content: 'x' }],
  })
  const { id } = await onlyMail(inbox)
  for (const path of ['/', `/mails/${id}`]) {
    const page = await read(inbox, path)
    expect(page).not.toContain('<script')
    expect(page).toContain('&lt;script&gt;alert(1)&lt;/script&gt;')
  }
})

test('the HTML part can run no script and load nothing', async () => {
  const inbox = await start()
  await send(inbox, { html: '<script>alert(1)</script>' })
  const { id } = await onlyMail(inbox)
  expect(await read(inbox, `/mails/${id}`)).toContain(`<iframe sandbox="" src="/mails/${id}/html"`)
  const part = await fetch(`${inbox.httpUrl}/mails/${id}/html`)
  expect(await part.text()).toContain('<script>alert(1)</script>')
  expect(part.headers.get('content-security-policy')).toMatch(/^sandbox; default-src 'none';/)
})

test('every page forbids scripts and other sources', async () => {
  const inbox = await start()
  await send(inbox, { text: 'x' })
  const { id } = await onlyMail(inbox)
  for (const path of ['/', `/mails/${id}`, `/mails/${id}/raw`, '/api/mails', '/nowhere']) {
    const { headers } = await fetch(inbox.httpUrl + path)
    expect(headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(headers.get('content-security-policy')).not.toContain('script-src')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
  }
})

test('an attachment is downloaded byte for byte, never opened', async () => {
  const inbox = await start()
  const content = Buffer.from([0, 255, 13, 10, 46, 13, 10])
  await send(inbox, {
    attachments: [{ filename: 'Grüße "1".html', content, contentType: 'text/html' }],
  })
  const { id } = await onlyMail(inbox)
  const response = await fetch(`${inbox.httpUrl}/mails/${id}/attachments/0`)
  expect(Buffer.from(await response.arrayBuffer())).toEqual(content)
  expect(response.headers.get('content-type')).toBe('application/octet-stream')
  expect(response.headers.get('content-disposition')).toBe(
    `attachment; filename="Gr__e _1_.html"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%221%22.html`,
  )
  expect((await fetch(`${inbox.httpUrl}/mails/${id}/attachments/1`)).status).toBe(404)
})

test('the source of a mail is served as plain text', async () => {
  const inbox = await start()
  await send(inbox, { subject: 'hello' })
  const { id } = await onlyMail(inbox)
  const response = await fetch(`${inbox.httpUrl}/mails/${id}/raw`)
  expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8')
  expect(await response.text()).toMatch(/^Return-Path: <fallback@[\s\S]*\r\nSubject: hello\r\n/)
})

test('DELETE empties the inbox', async () => {
  const inbox = await start()
  await send(inbox, { subject: 'hello' })
  const response = await fetch(`${inbox.httpUrl}/api/mails`, { method: 'DELETE' })
  expect(response.status).toBe(204)
  expect(inbox.mails()).toEqual([])
  expect(await read(inbox, '/')).toContain('No mail yet')
})

test('only the newest mails are kept', async () => {
  const inbox = await start({ maxMails: 2 })
  for (const subject of ['1', '2', '3']) await send(inbox, { subject })
  expect(inbox.mails().map((mail) => mail.subject)).toEqual(['3', '2'])
})

test('with a folder the mails are there after a restart, and bounded there too', async () => {
  const dir = join(await makeTempFolder(), 'mails')
  const first = await start({ dir, maxMails: 2 })
  for (const subject of ['1', '2', '3']) {
    await send(first, { subject, to: 'ann@pbx.example', bcc: 'bob@pbx.example' })
  }
  const before = first.mails()
  await first.stop()
  expect(await readdir(dir)).toHaveLength(2)

  const second = await start({ dir, maxMails: 2 })
  expect(second.mails()).toEqual(before)
  await fetch(`${second.httpUrl}/api/mails`, { method: 'DELETE' })
  expect(await readdir(dir)).toEqual([])
})

test('a mail that could not be written to the folder is not accepted', async () => {
  const dir = join(await makeTempFolder(), 'mails')
  const inbox = await start({ dir })
  await rm(dir, { recursive: true })
  await expect(send(inbox, { subject: 'lost?' })).rejects.toThrow(/450/)
  expect(inbox.mails()).toEqual([])
  await mkdir(dir)
  await send(inbox, { subject: 'kept' })
  expect(inbox.mails()).toHaveLength(1)
})

test('a mail over 10 MiB is refused, also when its size was not announced', async () => {
  const inbox = await start()
  const text = 'x'.repeat(11 * 1024 * 1024)
  await expect(send(inbox, { text })).rejects.toThrow(/552/)
  const { socket, waitForReply } = await startMail(inbox)
  const line = `${'x'.repeat(78)}\r\n`
  socket.end(`Subject: big\r\n\r\n${line.repeat(140_000)}.\r\n`)
  await waitForReply('552')
  expect(inbox.mails()).toEqual([])
})

test('a mail that breaks off in the middle is not kept', async () => {
  const inbox = await start()
  const { socket } = await startMail(inbox)
  socket.end('Subject: half\r\n\r\nhalf')
  await once(socket, 'close')
  await send(inbox, { subject: 'whole' })
  expect(inbox.mails().map((mail) => mail.subject)).toEqual(['whole'])
})

test('a request for a name with a dot, as after DNS rebinding, gets no mail', async () => {
  const inbox = await start()
  const [host, port] = addressOf(inbox.httpUrl)
  const statusFor = async (name: string): Promise<number | undefined> => {
    const outgoing = request({ host, port, path: '/api/mails', headers: { host: name } })
    outgoing.end()
    const [response] = await once(outgoing, 'response')
    response.resume()
    return response.statusCode
  }
  expect(await statusFor(`evil.example:${port}`)).toBe(421)
  expect(await statusFor(`localhost:${port}`)).toBe(200)
  expect(await statusFor('mail:8025')).toBe(200)
  expect(await statusFor('[::1]:8025')).toBe(200)
})

test('a busy port is an error and not a crash', async () => {
  const inbox = await start()
  const [, smtpPort] = addressOf(inbox.smtpUrl)
  const [, httpPort] = addressOf(inbox.httpUrl)
  await expect(startMailInbox({ smtpPort })).rejects.toThrow('EADDRINUSE')
  await expect(startMailInbox({ httpPort })).rejects.toThrow('EADDRINUSE')
})

test('the process takes its ports from the environment and ends on SIGTERM', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../src/mail-inbox.main.ts')], {
    env: { ...process.env, SMTP_PORT: '0', HTTP_PORT: '0', HOST: '127.0.0.1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const [smtpUrl = '', httpUrl = ''] = String(line).match(/(smtp|http):\/\/[\d.:]+/g) ?? []
  await send({ smtpUrl }, { subject: 'hello' })
  expect(await read({ httpUrl }, '/api/mails')).toContain('"subject":"hello"')
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  expect(await exit).toEqual([0, null])
})

/** Speaks SMTP by hand, without SIZE, until the server waits for the mail itself. */
async function startMail(
  inbox: MailInbox,
): Promise<{ socket: Socket; waitForReply(code: string): Promise<void> }> {
  const [host, port] = addressOf(inbox.smtpUrl)
  const socket = connect({ host, port, allowHalfOpen: true })
  let received = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    received += chunk
  })
  const waitForReply = async (code: string) => {
    if (!(await waitUntil(() => received.startsWith(code), 25_000))) {
      throw new Error(`no ${code}, but: ${received}`)
    }
    received = ''
  }
  await waitForReply('220')
  for (const command of ['HELO test', 'MAIL FROM:<a@b.example>', 'RCPT TO:<c@d.example>']) {
    socket.write(`${command}\r\n`)
    await waitForReply('250')
  }
  socket.write('DATA\r\n')
  await waitForReply('354')
  return { socket, waitForReply }
}

function addressOf(url: string): [string, number] {
  const { hostname, port } = new URL(url)
  return [hostname, Number(port)]
}
