import { type AddressInfo, createServer } from 'node:net'

// A destination that a test freezes: once its two places for waiting connections are taken, the kernel drops every
// further SYN, as a firewall does.
const answer = 'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'
const server = createServer((socket) => {
  socket.on('error', () => undefined)
  socket.once('data', () => socket.end(answer))
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  process.stdout.write(`port ${(server.address() as AddressInfo).port}\n`)
})
