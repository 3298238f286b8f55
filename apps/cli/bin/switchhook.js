#!/usr/bin/env node
// Plain JavaScript, so that an old Node gets as far as being told.
const [major = 0] = process.versions.node.split('.').map(Number)
if (major < 24) {
  process.stderr.write(
    `Switchhook needs Node 24 and this is ${process.versions.node}: "npm ci" brings it along, then use "npm start" or "npx switchhook".\n`,
  )
  process.exit(1)
}
await import('../src/main.ts')
