// Proofs of the state: that a key has a value, or none. Law: a proof holds only where it hashes to the root, and the
// next header says which root that is.
import { digest, sha256 } from './hash.ts'
import { bytes32, list, message, nullable, pair, type Value } from './shape.ts'

const PATH_BITS = 256
const LEAF = Uint8Array.of(0x10)
const NODE = Uint8Array.of(0x11)
const EMPTY = sha256(Uint8Array.of(0x12))

export const TreeProof = message({
  siblings: list(bytes32, PATH_BITS), // of the nodes on the path, from the root down
  other: nullable(pair(bytes32, bytes32)) // (path, hash of the value) of another key's leaf at this place
})

/** The only app hash under which the proof holds; undefined where it is no proof about this key and value. */
export function impliedAppHash (
  key: Uint8Array, value: Uint8Array | null, proof: Value<typeof TreeProof>
): Uint8Array | undefined {
  const path = sha256(key)
  const depth = proof.siblings.length
  let current = EMPTY
  if (value !== null) {
    if (proof.other !== null) return undefined
    current = sha256(LEAF, path, sha256(value))
  } else if (proof.other !== null) {
    const [other, valueHash] = proof.other
    const isSamePlace = Array.from({ length: depth }, (_, at) => bit(other, at) === bit(path, at)).every(Boolean)
    if (Buffer.compare(other, path) === 0 || !isSamePlace) return undefined
    current = sha256(LEAF, other, valueHash)
  }
  for (let level = depth - 1; level >= 0; level--) {
    const sibling = proof.siblings[level]
    current = bit(path, level) === 1 ? sha256(NODE, sibling, current) : sha256(NODE, current, sibling)
  }
  return digest('app', current)
}

const bit = (path: Uint8Array, at: number): number => path[at >> 3] >> (7 - (at & 7)) & 1
