import { describe, expect, it } from 'vitest'
import { createEgressWatch } from './own-fault.ts'

describe('a failure to connect is our own fault', () => {
  it.each(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENETDOWN'])('when the code is %s', (code) => {
    expect(createEgressWatch().isOwnFault(code, 'a.example', 0)).toBe(true)
  })

  it.each(['EAI_AGAIN', 'EPROXIED', 'UND_ERR_CONNECT_TIMEOUT', 'EHOSTUNREACH'])(
    'when three hosts end with %s and none is reached, and not before',
    (code) => {
      const watch = createEgressWatch()
      expect(watch.isOwnFault(code, 'a.example', 0)).toBe(false)
      expect(watch.isOwnFault(code, 'b.example', 1)).toBe(false)
      expect(watch.isOwnFault(code, 'c.example', 2)).toBe(true)
      expect(watch.isOwnFault(code, 'a.example', 3)).toBe(true)
    },
  )
})

describe('a failure to connect is the fault of the destination', () => {
  it('when it is the only one, however often', () => {
    const watch = createEgressWatch()
    for (let count = 0; count < 50; count += 1) {
      expect(watch.isOwnFault('EPROXIED', 'gone.example', count)).toBe(false)
    }
  })

  it('when another host was reached in between', () => {
    const watch = createEgressWatch()
    watch.isOwnFault('EAI_AGAIN', 'a.example', 0)
    watch.isOwnFault('EAI_AGAIN', 'b.example', 1)
    watch.reached()
    expect(watch.isOwnFault('EAI_AGAIN', 'c.example', 2)).toBe(false)
  })

  it('when another one refused the connection: a refusal came through the network', () => {
    const watch = createEgressWatch()
    watch.isOwnFault('EHOSTUNREACH', 'a.example', 0)
    watch.isOwnFault('EHOSTUNREACH', 'b.example', 1)
    expect(watch.isOwnFault('ECONNREFUSED', 'd.example', 2)).toBe(false)
    expect(watch.isOwnFault('EHOSTUNREACH', 'c.example', 3)).toBe(false)
  })

  it('when the others failed more than 30 s ago', () => {
    const watch = createEgressWatch()
    watch.isOwnFault('EAI_AGAIN', 'a.example', 0)
    watch.isOwnFault('EAI_AGAIN', 'b.example', 1)
    expect(watch.isOwnFault('EAI_AGAIN', 'c.example', 30_002)).toBe(false)
  })

  it('when the connection was refused, reset, or had a bad certificate, however many do that', () => {
    const watch = createEgressWatch()
    for (const code of ['ECONNREFUSED', 'ECONNRESET', 'CERT_HAS_EXPIRED', '']) {
      for (let host = 0; host < 10; host += 1) {
        expect(watch.isOwnFault(code, `${host}.example`, host)).toBe(false)
      }
    }
  })
})

it('the watch remembers a bounded number of hosts', () => {
  const watch = createEgressWatch()
  for (let host = 0; host < 10_000; host += 1)
    watch.isOwnFault('EAI_AGAIN', `${host}.example`, host)
  expect(watch.isOwnFault('EAI_AGAIN', 'last.example', 10_000)).toBe(true)
})
