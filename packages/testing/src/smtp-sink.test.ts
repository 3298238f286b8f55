import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type SmtpSink, startSmtpSink } from './smtp-sink.ts'

let sink: SmtpSink
let sockets: Socket[]

beforeEach(async () => {
  sockets = []
  sink = await startSmtpSink()
})
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await sink.stop()
})

const MAIL = [
  'Message-ID: <evt_1@switchhook>',
  'From: Switchhook <gateway@example.com>',
  'To: Ops <ops@example.com>, second@example.com',
  'Subject: =?utf-8?q?Not_delivered_=E2=98=8E?=',
  'MIME-Version: 1.0',
  'Content-Type: multipart/mixed; boundary=b',
  '',
  '--b',
  'Content-Type: text/plain; charset=utf-8',
  '',
  'ten attempts',
  '--b',
  'Content-Type: application/json; name=event.json',
  'Content-Disposition: attachment; filename=event.json',
  'Content-Transfer-Encoding: base64',
  '',
  Buffer.from('{"a":1}').toString('base64'),
  '--b--',
].join('\r\n')

/** Says each line after the answer to the one before. Returns the code of the last answer, or how it ended. */
async function say(...lines: string[]): Promise<string> {
  const socket = connect(sink.port, '127.0.0.1')
  sockets.push(socket)
  const ended = once(socket, 'close').then(() => 'closed')
  const failed = new Promise<string>((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'))
  })
  let answer = ''
  for (const line of [undefined, ...lines]) {
    if (line !== undefined) socket.write(`${line}\r\n`)
    answer = await Promise.race([
      nextAnswer(socket),
      failed,
      ended,
      sleep(20_000, 'silence', { ref: false }),
    ])
    if (!/^[23]/.test(answer)) break
  }
  return answer
}

async function nextAnswer(socket: Socket): Promise<string> {
  let text = ''
  while (!/^\d{3} [^\n]*\n$/m.test(text)) {
    const [chunk] = await once(socket, 'data')
    text += String(chunk)
  }
  return text.trim().split('\n').at(-1)?.trim() ?? ''
}

const deliver = () =>
  say(
    'EHLO test',
    'MAIL FROM:<bounce@example.com>',
    'RCPT TO:<real@example.com>',
    'DATA',
    `${MAIL}\r\n.`,
  )

test('keeps a mail with its parts, its headers and where it really went', async () => {
  expect(await deliver()).toMatch(/^250/)
  expect(sink.url).toBe(`smtp://127.0.0.1:${sink.port}`)
  expect(sink.mails).toHaveLength(1)
  expect(sink.mails[0]).toMatchObject({
    messageId: '<evt_1@switchhook>',
    to: ['ops@example.com', 'second@example.com'],
    from: 'gateway@example.com',
    subject: 'Not delivered ☎',
    text: expect.stringContaining('ten attempts'),
    html: undefined,
    envelopeTo: ['real@example.com'],
    envelopeFrom: 'bounce@example.com',
    attachments: [{ filename: 'event.json', contentType: 'application/json' }],
  })
  expect(String(sink.mails[0]?.attachments[0]?.content)).toBe('{"a":1}')
})

test('rejects recipients with the code and text it is told', async () => {
  sink.mode({ rejectCode: 450, text: 'try later' })
  expect(await deliver()).toMatch(/^450 .*try later/)
  sink.mode({ rejectCode: 550, text: 'no such mailbox' })
  expect(await deliver()).toMatch(/^550 .*no such mailbox/)
  expect(sink.mails).toHaveLength(0)
  sink.mode('accept')
  expect(await deliver()).toMatch(/^250/)
})

test('hangs: accepts the connection and says nothing', async () => {
  sink.mode('hang')
  const socket = connect(sink.port, '127.0.0.1')
  sockets.push(socket)
  await once(socket, 'connect')
  expect(await Promise.race([nextAnswer(socket), sleep(100, 'silence')])).toBe('silence')
})

test('cut_after_data takes the mail and never says so', async () => {
  sink.mode('cut_after_data')
  expect(await deliver()).toMatch(/^(ECONNRESET|closed)$/)
  expect(sink.mails).toHaveLength(1)
})
