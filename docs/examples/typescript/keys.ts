// Ed25519 keys and what their signatures are about. Law: nothing is signed without its kind and its network.
import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ProtocolError } from './errors.ts'

// the DER encodings that node:crypto wants around 32 bytes
const PRIVATE = Buffer.from('302e020100300506032b657004220420', 'hex')
const PUBLIC = Buffer.from('302a300506032b6570032100', 'hex')

export type Domain = 'request' | 'finish' | 'streamed' | 'busy' | 'precommit'

/** The exact bytes under a signature: the kind, the network id behind its length in 2 bytes, the body. */
export function signingBytes (domain: Domain, network: string, body: Uint8Array): Uint8Array {
  const name = Buffer.from(network)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(name.length)
  return Buffer.concat([Buffer.from(`folkmoot/${domain}/1\0`), length, name, body])
}

export class Key {
  readonly public: Uint8Array
  readonly #key: KeyObject

  constructor (seed: Uint8Array) {
    this.#key = createPrivateKey({ key: Buffer.concat([PRIVATE, seed]), format: 'der', type: 'pkcs8' })
    this.public = createPublicKey(this.#key).export({ format: 'der', type: 'spki' }).subarray(PUBLIC.length)
  }

  /** From a file of 64 hexadecimal digits, such as account.key. */
  static load (file: string): Key {
    let digits = ''
    try {
      digits = readFileSync(file, 'ascii').trim()
    } catch (error) {
      throw new ProtocolError('config', 'key', `cannot read ${file}: ${String(error)}`)
    }
    if (!/^[0-9a-f]{64}$/i.test(digits)) {
      throw new ProtocolError('config', 'key', `${file} is not a key of 64 hexadecimal digits`)
    }
    return new Key(Buffer.from(digits, 'hex'))
  }

  sign (domain: Domain, network: string, body: Uint8Array): Uint8Array {
    return sign(null, signingBytes(domain, network, body), this.#key)
  }
}

export function isSigned (
  by: Uint8Array, domain: Domain, network: string, body: Uint8Array, signature: Uint8Array
): boolean {
  if (by.length !== 32 || signature.length !== 64) return false
  try {
    const key = createPublicKey({ key: Buffer.concat([PUBLIC, by]), format: 'der', type: 'spki' })
    return verify(null, signingBytes(domain, network, body), key, signature)
  } catch {
    return false // 32 bytes that are no point of the curve
  }
}
