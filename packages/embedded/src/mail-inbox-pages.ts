import { mailInboxStyle } from './mail-inbox-style.ts'
import { html, type Markup } from './markup.ts'
import type { StoredAttachment, StoredMail } from './stored-mail.ts'

/** The list of mails, newest first; it reloads itself every 5 s. */
export function mailListPage(mails: readonly StoredMail[], smtpUrl: string): string {
  const list =
    mails.length === 0
      ? html`<p class="empty">No mail yet. Send some to <code>${smtpUrl}</code>.</p>`
      : html`<ul class="mails">${mails.map(mailRow)}</ul>`
  const count = mails.length === 1 ? '1 mail' : `${mails.length} mails`
  return page({
    title: `Mail inbox (${mails.length})`,
    head: html`<meta http-equiv="refresh" content="5">`,
    aside: html`${count} · <code>${smtpUrl}</code>`,
    body: html`<div class="card">${list}</div>`,
  })
}

/** One mail: header, text, HTML (in a sandboxed frame with a URL of its own), attachments. */
export function mailPage(mail: StoredMail): string {
  const base = `/mails/${mail.id}`
  const rows: [string, string][] = [
    ['From', mail.from],
    ['To', mail.to.join(', ')],
    ['Received', readableTime(mail.receivedAt)],
    ['Message-ID', mail.messageId],
  ]
  const facts = rows.map(([name, value]) => html`<dt>${name}</dt><dd>${value || '–'}</dd>`)
  const parts: Markup[] = []
  if (mail.text !== '') parts.push(card('Text', html`<pre>${mail.text}</pre>`))
  if (mail.html !== '') {
    const frame = html`<iframe sandbox="" src="${base}/html" title="HTML part"></iframe>`
    parts.push(card('HTML', frame))
  }
  if (parts.length === 0) parts.push(card('Text', html`<p class="empty">This mail is empty.</p>`))
  if (mail.attachments.length > 0) {
    const files = mail.attachments.map((file, index) =>
      attachmentRow(file, `${base}/attachments/${index}`),
    )
    parts.push(card('Attachments', html`<ul class="files">${files}</ul>`))
  }
  return page({
    title: subjectOf(mail),
    head: html``,
    aside: html`<a href="/">All mails</a> · <a href="${base}/raw">Source</a>`,
    body: html`<h1>${subjectOf(mail)}</h1><div class="card"><dl>${facts}</dl></div>${parts}`,
  })
}

/** A page that says one thing, e.g. that a mail is gone. */
export function messagePage(message: string): string {
  const body = html`<div class="card"><p class="empty">${message}</p></div>`
  return page({ title: message, head: html``, aside: html``, body })
}

function mailRow(mail: StoredMail): Markup {
  return html`<li><a href="/mails/${mail.id}">
    <span class="subject">${subjectOf(mail)}</span>
    <time datetime="${mail.receivedAt}">${readableTime(mail.receivedAt)}</time>
    <span class="quiet">${mail.from || '(no sender)'} → ${mail.to.join(', ')}</span>
  </a></li>`
}

function attachmentRow(file: StoredAttachment, href: string): Markup {
  const facts = `${file.contentType}, ${readableSize(file.sizeBytes)}`
  return html`<li><a href="${href}">${file.filename}</a> <span class="quiet">${facts}</span></li>`
}

function card(title: string, content: Markup): Markup {
  return html`<section class="card"><h2>${title}</h2>${content}</section>`
}

function page(parts: { title: string; head: Markup; aside: Markup; body: Markup }): string {
  // The stylesheet is a constant, and in <style> an escaped character would be taken literally.
  const style: Markup = { markup: mailInboxStyle }
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${parts.head}
<title>${parts.title}</title>
<style>${style}</style>
</head>
<body>
<header><div><a href="/">Mail inbox</a><span>${parts.aside}</span></div></header>
<main>${parts.body}</main>
</body>
</html>
`.markup
}

function subjectOf(mail: StoredMail): string {
  return mail.subject || '(no subject)'
}

/** `2026-11-21 03:40:00 UTC` */
function readableTime(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`
}

function readableSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KiB`
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`
}
