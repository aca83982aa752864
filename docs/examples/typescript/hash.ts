// SHA-256 as the protocol uses it. Law: two different lists of parts never have the same input, and the hashes of
// leaves and of nodes begin differently.
import { createHash } from 'node:crypto'

type Part = Uint8Array | string

export function sha256 (...parts: Uint8Array[]): Uint8Array {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** Over parts, each behind its length in 8 bytes. */
export function digest (...parts: Part[]): Uint8Array {
  const raw = parts.map(part => typeof part === 'string' ? Buffer.from(part) : part)
  return sha256(...raw.flatMap(part => [u64be(part.length), part]))
}

/** A number in 8 bytes, or in 4, big-endian. */
export function u64be (value: number | bigint): Uint8Array {
  const out = Buffer.alloc(8)
  out.writeBigUInt64BE(BigInt(value))
  return out
}

export function u32be (value: number): Uint8Array {
  const out = Buffer.alloc(4)
  out.writeUInt32BE(value)
  return out
}

const LEAF = Uint8Array.of(0)
const NODE = Uint8Array.of(1)

/** The Merkle root of RFC 6962 over leaves. */
export function merkleRoot (leaves: Uint8Array[]): Uint8Array {
  let level = leaves.map(leaf => sha256(LEAF, leaf))
  if (level.length === 0) return sha256()
  while (level.length > 1) {
    const above: Uint8Array[] = []
    for (let at = 0; at < level.length; at += 2) {
      above.push(at + 1 < level.length ? sha256(NODE, level[at], level[at + 1]) : level[at])
    }
    level = above
  }
  return level[0]
}

export const same = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0
export const toHex = (raw: Uint8Array): string => Buffer.from(raw).toString('hex')
