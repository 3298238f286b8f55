import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { type SmtpSink, startSmtpSink } from '@switchhook/testing/smtp-sink'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { FallbackMail } from './fallback-mail.ts'
import { createMailSender, type MailSender } from './send-mail.ts'

vi.setConfig({ testTimeout: 60_000 })

const FROM = 'Switchhook <switchhook@hooks.example>'
/** Plenty, for a machine that is busy. */
const TIMEOUTS = {
  ...{
    connectionTimeout: 20_000,
    greetingTimeout: 20_000,
    socketTimeout: 20_000,
    sendTimeout: 20_000,
  },
}
const SHORT = {
  ...{ connectionTimeout: 200, greetingTimeout: 200, socketTimeout: 300, sendTimeout: 1_000 },
}

let sink: SmtpSink
let sender: MailSender

beforeEach(async () => {
  sink = await startSmtpSink()
  sender = createMailSender(sink.url, FROM, TIMEOUTS)
})
afterEach(async () => {
  sender.close()
  await sink.stop()
})

function mail(overrides: Partial<FallbackMail> = {}): FallbackMail {
  return {
    to: 'owner@customer.example',
    subject: 'not delivered: café ☎',
    text: 'one\ntwo\n',
    html: '<p>one</p>',
    messageId: '<dlv_1@switchhook>',
    payload: Buffer.from('{"a":1}'),
    ...overrides,
  }
}

describe('a mail that the server takes', () => {
  it('arrives as it was written, with the payload and a stable id', async () => {
    expect(await sender.send(mail())).toEqual({ kind: 'sent' })
    expect(sink.mails).toHaveLength(1)
    const [received] = sink.mails
    expect(received).toMatchObject({
      to: ['owner@customer.example'],
      envelopeTo: ['owner@customer.example'],
      from: 'switchhook@hooks.example',
      envelopeFrom: 'switchhook@hooks.example',
      subject: 'not delivered: café ☎',
      messageId: '<dlv_1@switchhook>',
      html: '<p>one</p>',
    })
    expect(received?.text?.trim()).toBe('one\ntwo')
    expect(received?.headers.get('auto-submitted')).toBe('auto-generated')
    expect(received?.attachments).toEqual([
      {
        filename: 'payload.json',
        contentType: 'application/json',
        content: Buffer.from('{"a":1}'),
      },
    ])
  })

  it('has a payload of JSON always: another text and bytes are wrapped', async () => {
    await sender.send(mail({ payload: Buffer.from('Body=hi&To=%2B1') }))
    await sender.send(mail({ payload: Buffer.from([0xff, 0x00]) }))
    const payloads = sink.mails.map((one) => JSON.parse(String(one.attachments[0]?.content)))
    expect(payloads).toEqual([{ payload: 'Body=hi&To=%2B1' }, { payload_base64: '/wA=' }])
  })

  it('may be sent many times at once', async () => {
    const results = await Promise.all(Array.from({ length: 12 }, () => sender.send(mail())))
    expect(results.every(({ kind }) => kind === 'sent')).toBe(true)
    expect(sink.mails).toHaveLength(12)
  })
})

/** A mail server that somebody wrote by hand. `answer` gets each command and what writes to the client. */
async function startRawServer(answer: (command: string, write: (text: string) => void) => void) {
  const commands: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    const write = (text: string) => void (socket.writable && socket.write(text))
    write('220 raw ESMTP\r\n')
    createInterface(socket).on('line', (line) => {
      commands.push(line)
      answer(line, write)
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return {
    ...{ commands, host: `127.0.0.1:${port}`, connections: () => sockets.size },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

describe('a mail server that is not what it should be', () => {
  it('gets no password while it offers no TLS, unless the URL says that it may', async () => {
    await using server = await startRawServer((command, write) => {
      if (command.startsWith('EHLO')) write('250-raw\r\n250 AUTH PLAIN LOGIN\r\n')
      else write(command.startsWith('STARTTLS') ? '502 no such command\r\n' : '535 no\r\n')
    })
    const safe = createMailSender(`smtp://user:secret@${server.host}`, FROM, TIMEOUTS)
    expect((await safe.send(mail())).kind).toBe('failed')
    expect(server.commands.filter((command) => command.startsWith('AUTH'))).toEqual([])
    safe.close()
    const url = `smtp://user:secret@${server.host}?requireTLS=false`
    const open = createMailSender(url, FROM, TIMEOUTS)
    expect((await open.send(mail())).kind).toBe('failed')
    expect(server.commands.some((command) => command.startsWith('AUTH'))).toBe(true)
    open.close()
  })

  it('does not hold a mail for ever by saying a little now and then, nor the next one', async () => {
    const timers = new Set<NodeJS.Timeout>()
    await using server = await startRawServer((_command, write) => {
      timers.add(setInterval(() => write('250-and\r\n'), 50))
    })
    // None of its steps takes too long, the whole does.
    const slow = createMailSender(`smtp://${server.host}`, FROM, {
      ...TIMEOUTS,
      sendTimeout: 2_500,
    })
    const startedAtMs = performance.now()
    const results = await Promise.all(Array.from({ length: 3 }, () => slow.send(mail())))
    expect(results).toEqual(
      results.map(() => ({ kind: 'failed', error: 'The mail server took too long.' })),
    )
    expect(performance.now() - startedAtMs).toBeLessThan(TIMEOUTS.socketTimeout)
    const before = server.connections()
    await slow.send(mail())
    expect(server.connections()).toBeGreaterThan(before)
    for (const timer of timers) clearInterval(timer)
    slow.close()
  })

  it('takes a mail of a few megabytes whole', async () => {
    const payload = Buffer.from(JSON.stringify({ media: 'x'.repeat(3_000_000) }))
    expect(await sender.send(mail({ payload }))).toEqual({ kind: 'sent' })
    expect(sink.mails[0]?.attachments[0]?.content.equals(payload)).toBe(true)
  })
})

describe('one address', () => {
  it.each([
    'a@b.example, evil@z.example',
    'a@b.example; evil@z.example',
    'group: a@b.example, evil@z.example;',
    'a@b.example <evil@z.example>',
    '"x, evil@z.example" <a@b.example>',
    'a@b.example\r\nBcc: evil@z.example',
    'a@b.example>\r\nRCPT TO:<evil@z.example',
    'a@b.example\nevil@z.example',
  ])('never becomes several: %j', async (to) => {
    await sender.send(mail({ to }))
    const recipients = sink.mails.flatMap(({ envelopeTo }) => envelopeTo)
    expect(recipients.length).toBeLessThanOrEqual(1)
    expect(sink.mails.every(({ headers }) => !headers.has('bcc') && !headers.has('cc'))).toBe(true)
    expect(recipients).not.toContain('evil@z.example')
  })

  it.each(['', 'nobody', 'a@b.example, evil@z.example'])(
    'that is none is rejected at once, not tried for a day: %j',
    async (to) => {
      expect((await sender.send(mail({ to }))).kind).toBe('rejected')
    },
  )

  it('is still usable for the next mail after a bad one', async () => {
    await sender.send(mail({ to: 'a@b.example, evil@z.example' }))
    expect(await sender.send(mail())).toEqual({ kind: 'sent' })
  })
})

describe('content from outside', () => {
  it('names no file and no URL to be read', async () => {
    const path = { path: '/etc/hostname' } as unknown as string
    const result = await sender.send(mail({ html: path, text: path }))
    expect(result.kind).not.toBe('sent')
    expect(sink.mails).toEqual([])
  })

  it('begins no header by a line end in the subject', async () => {
    await sender.send(mail({ subject: 'x\r\nBcc: evil@z.example\r\n\r\nbody' }))
    const [received] = sink.mails
    expect(received?.headers.has('bcc')).toBe(false)
    expect(received?.envelopeTo).toEqual(['owner@customer.example'])
  })
})

describe('a mail that the server does not take', () => {
  it.each([421, 450, 451, 452])('with %i failed, and is worth another try', async (rejectCode) => {
    sink.mode({ rejectCode, text: 'try later owner@customer.example' })
    expect(await sender.send(mail())).toEqual({
      kind: 'failed',
      error: `The mail server answered ${rejectCode}.`,
    })
    sink.mode('accept')
    expect(await sender.send(mail())).toEqual({ kind: 'sent' })
  })

  it.each([550, 552, 554])('with %i was rejected for good', async (rejectCode) => {
    sink.mode({ rejectCode, text: 'no such user' })
    expect(await sender.send(mail())).toEqual({
      kind: 'rejected',
      error: `The mail server answered ${rejectCode}.`,
    })
  })

  it.each([
    ['MAIL', '550 5.1.0 we know no such sender'],
    ['MAIL', '530 5.7.0 log in first'],
    ['RCPT', '550 5.1.8 <switchhook@hooks.example>: Sender address rejected: Domain not found'],
    ['RCPT', '554 5.7.1 <owner@customer.example>: Relay access denied'],
    ['DATA', '554 5.5.1 not now'],
  ])('for the sake of its sender failed: it is ours to mend (%s: %s)', async (step, answer) => {
    await using server = await startRawServer((command, write) => {
      write(command.startsWith(step) ? `${answer}\r\n` : '250 ok\r\n')
    })
    const refused = createMailSender(`smtp://${server.host}`, FROM, TIMEOUTS)
    const code = answer.slice(0, 3)
    expect(await refused.send(mail())).toEqual({
      kind: 'failed',
      error: `The mail server answered ${code}.`,
    })
    refused.close()
  })

  it('failed when the server says nothing: the wait has an end', async () => {
    sink.mode('hang')
    const hurried = createMailSender(sink.url, FROM, SHORT)
    const startedAtMs = performance.now()
    expect((await hurried.send(mail())).kind).toBe('failed')
    expect(performance.now() - startedAtMs).toBeLessThan(TIMEOUTS.greetingTimeout)
    hurried.close()
  })

  it('failed when the server is away, and when the connection is cut before its answer', async () => {
    sink.mode('cut_after_data')
    expect((await sender.send(mail())).kind).toBe('failed')
    await sink.stop()
    const result = await sender.send(mail())
    expect(result).toEqual({ kind: 'failed', error: 'The mail server failed (ESOCKET).' })
  })
})
