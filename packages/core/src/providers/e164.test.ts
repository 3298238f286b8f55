import { describe, expect, it } from 'vitest'
import { AUSTRALIA, toNumber } from './e164.ts'

describe('a number', () => {
  it.each([
    ['+14155551234', '+14155551234'],
    ['14155551234', '+14155551234'],
    [' +1 (415) 555-1234 ', '+14155551234'],
    ['whatsapp:+14155551234', '+14155551234'],
    ['0491570017', '0491570017'],
    ['1999', '1999'],
    ['ACME', 'ACME'],
    ['sip:desk@pbx.example', 'sip:desk@pbx.example'],
    ['client:alice', 'client:alice'],
    ['', null],
    ['  ', null],
  ])('%j is registered as %j', (text, number) => {
    expect(toNumber(text)).toBe(number)
  })

  it.each([
    ['0491 570 017', '+61491570017'],
    ['0011 1 415 555 1234', '+14155551234'],
    ['0014155551234', '+14155551234'],
    ['(02) 5550 1234', '+61255501234'],
    ['61491570017', '+61491570017'],
    ['+61491570017', '+61491570017'],
    ['0', '0'],
  ])('%j in Australia is registered as %j', (text, number) => {
    expect(toNumber(text, AUSTRALIA)).toBe(number)
  })
})
