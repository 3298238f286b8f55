/** The whole stylesheet of the inbox; inline, and allowed by its hash in the Content-Security-Policy. */
export const mailInboxStyle = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #e3e6eb; --text: #1b2330; --quiet: #667085; --accent: #2f5fd0;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #11151c; --card: #191f29; --line: #2a3240; --text: #e6e9ef; --quiet: #93a0b4; --accent: #8db0ff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main, header > div { max-width: 60rem; margin: 0 auto; padding: 0 1.25rem; }
header { background: var(--card); border-bottom: 1px solid var(--line); margin-bottom: 1.5rem; }
header > div { display: flex; gap: 1rem; align-items: baseline; padding-top: .9rem; padding-bottom: .9rem; }
header div > a { font-weight: 650; font-size: 1.05rem; color: var(--text); }
header span { color: var(--quiet); font-size: .9rem; margin-left: auto; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
code { font: .92em ui-monospace, monospace; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; margin-bottom: 1.25rem; }
.card > h2 { font-size: .8rem; font-weight: 600; color: var(--quiet); margin: 0; padding: .6rem 1.1rem; border-bottom: 1px solid var(--line); }
.mails { list-style: none; margin: 0; padding: 0; }
.mails li + li { border-top: 1px solid var(--line); }
.mails a { display: grid; grid-template-columns: 1fr auto; gap: .1rem 1rem; padding: .75rem 1.1rem; color: inherit; }
.mails a:hover { background: color-mix(in srgb, var(--accent) 8%, transparent); text-decoration: none; }
.subject { font-weight: 600; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: .9rem; overflow-wrap: anywhere; }
time { color: var(--quiet); font-size: .85rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.empty { padding: 3rem 1.1rem; text-align: center; color: var(--quiet); }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 1rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: 0; padding: .9rem 1.1rem; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: 0; padding: 1rem 1.1rem; font: .92rem/1.55 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
iframe { display: block; width: 100%; height: 28rem; border: 0; background: #fff; color-scheme: light; }
.files { list-style: none; margin: 0; padding: .6rem 1.1rem; }
`
