import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/** Certificates made on the spot: X.509 in DER by hand, so that a test needs neither openssl nor a package. */

export type CertificateOptions = {
  /** Host names and IPv4 addresses that it is for. */
  readonly hosts: readonly string[]
  /** Itself unless given. */
  readonly issuer?: Certificate
  readonly isAuthority?: boolean
  /** From a day ago until in a day unless given. */
  readonly validFrom?: Date
  readonly validTo?: Date
}

export type Certificate = {
  /** PEM. */
  readonly cert: string
  readonly key: string
  readonly name: Buffer
  readonly privateKey: KeyObject
}

const DAY_MS = 86_400_000

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  if (length < 128) return Buffer.concat([Buffer.from([tag, length]), content])
  const bytes = length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...bytes]), content])
}

const sequence = (...parts: readonly Buffer[]) => der(0x30, ...parts)
const oid = (hex: string) => der(0x06, Buffer.from(hex, 'hex'))
const text = (value: string) => der(0x0c, Buffer.from(value))
const bits = (content: Buffer) => der(0x03, Buffer.from([0]), content)
const integer = (content: Buffer) => der(0x02, content)
const TRUE = der(0x01, Buffer.from([0xff]))
const ECDSA_SHA256 = sequence(oid('2a8648ce3d040302'))

function time(date: Date): Buffer {
  return der(0x18, Buffer.from(date.toISOString().replace(/[-:T]|\.\d+/g, '')))
}

function nameOf(commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid('550403'), text(commonName))))
}

/** RFC 5280 §4.2.1.6: dNSName [2], iPAddress [7]. */
function alternativeNames(hosts: readonly string[]): Buffer {
  const names = hosts.map((host) =>
    /^[\d.]+$/.test(host)
      ? der(0x87, Buffer.from(host.split('.').map(Number)))
      : der(0x82, Buffer.from(host)),
  )
  return sequence(oid('551d11'), der(0x04, sequence(...names)))
}

function pem(kind: string, content: Buffer): string {
  const lines = content.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${kind}-----\n${lines.join('\n')}\n-----END ${kind}-----\n`
}

/** An ECDSA P-256 certificate with its key. */
export function createCertificate(options: CertificateOptions): Certificate {
  const { hosts, issuer, isAuthority = false } = options
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  // Each its own, or OpenSSL would take a certificate for its issuer.
  const id = createHash('sha256').update(spki).digest('hex').slice(0, 12)
  const name = nameOf(`${hosts[0] ?? 'test'} ${id}`)
  const validFrom = options.validFrom ?? new Date(Date.now() - DAY_MS)
  const validTo = options.validTo ?? new Date(Date.now() + DAY_MS)
  const serial = Buffer.concat([Buffer.from([1]), randomBytes(8)])
  const constraints = sequence(oid('551d13'), TRUE, der(0x04, sequence(TRUE)))
  const extensions = [
    ...(isAuthority ? [constraints] : []),
    ...(hosts.length > 0 ? [alternativeNames(hosts)] : []),
  ]
  const body = sequence(
    der(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    ECDSA_SHA256,
    issuer?.name ?? name,
    sequence(time(validFrom), time(validTo)),
    name,
    spki,
    der(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', body, issuer?.privateKey ?? privateKey)
  return {
    cert: pem('CERTIFICATE', sequence(body, ECDSA_SHA256, bits(signature))),
    key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    name,
    privateKey,
  }
}
