// Deterministic CBOR (RFC 8949, section 4.2.1), the one encoding of everything that is sent or signed.
// Law: bytes are accepted only if encoding what they decode to gives the same bytes.
import { decode as decodeCbor, encode as encodeCbor } from 'cborg'
import { broken } from './errors.ts'

// cborg refuses every tag unless it is told of one
const STRICT = {
  strict: true, allowIndefinite: false, allowUndefined: false, allowInfinity: false, allowNaN: false,
  rejectDuplicateMapKeys: true
}

/** Of plain data: null, booleans, whole numbers, bytes, text, arrays, and objects as maps with text keys. */
export function encode (value: unknown): Uint8Array {
  return encodeCbor(value)
}

/** Throws ProtocolError for bytes that are not the deterministic encoding of their content. */
export function decode (data: Uint8Array): unknown {
  let value: unknown, again: Uint8Array
  try {
    value = decodeCbor(data, STRICT)
    if (!isPlain(value)) throw new Error('a number that is not whole, or has more than 64 bits')
    again = encode(value)
  } catch (error) {
    throw broken('frame', `not CBOR: ${error instanceof Error ? error.message : String(error)}`)
  }
  if (Buffer.compare(again, data) !== 0) throw broken('frame', 'not the deterministic CBOR encoding of its content')
  return value
}

function isPlain (value: unknown): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value) // a larger one comes as bigint
  if (typeof value === 'bigint') return -(2n ** 63n) <= value && value < 2n ** 64n
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return true
  return Object.values(value).every(isPlain)
}
