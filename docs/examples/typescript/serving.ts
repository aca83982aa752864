// The nodes that a draw is made from, as the state proves them. Law: a set counts only for its model and height, and
// only under the app hash that a later header has.
import { broken } from './errors.ts'
import { same, u64be } from './hash.ts'
import { bytes, count, list, message, nullable, u32, u64, unpack } from './shape.ts'
import { impliedAppHash, TreeProof } from './tree.ts'
import { MemberRow, type Member } from './validators.ts'

const value = bytes(0, 1 << 19)
const ServingProof = message({
  version: u32,
  height: count, // the values are of the state after it; header height + 1 has its app hash
  versions: value,
  versionsProof: TreeProof,
  nodes: value,
  nodesProof: TreeProof,
  price: nullable(value),
  priceProof: TreeProof
})
// heights of the sets that are kept; the newest one holds while the price is in these bounds
const Versions = message({ heights: list(count, 33, 1), low: u64, high: u64 })
const ServingSet = message({ nodes: list(MemberRow, 1088) })
const Price = message({ micro: u64, used: u64, window: u32, weight: u64, anchor: u64 })

export interface Serving {
  nodes: Member[]
  priceMicro: bigint | undefined // of a token in block `standsAt`; undefined where the state has none yet
  standsAt: number // the header with this height has this app hash, where all this is true
  appHash: Uint8Array
}

/** Throws ProtocolError for a proof of something else than `model` at `height`. */
export function openServing (raw: Uint8Array, model: string, height: number): Serving {
  const proof = unpack(ServingProof, raw, 'proof')
  const since = Math.max(...unpack(Versions, proof.versions, 'versions').heights.filter(one => one <= height))
  if (since < 0 || height > proof.height) throw broken('versions', `this says nothing of height ${height}`)
  const setKey = Buffer.concat([Buffer.from(`serve/${model}/`), u64be(since)])
  const hashes = [
    impliedAppHash(Buffer.from(`serving/${model}`), proof.versions, proof.versionsProof),
    impliedAppHash(setKey, proof.nodes, proof.nodesProof),
    impliedAppHash(Buffer.from(`price/${model}`), proof.price, proof.priceProof)
  ]
  const appHash = hashes[0]
  if (appHash === undefined || !hashes.every(one => one !== undefined && same(one, appHash))) {
    throw broken('nodes', 'these values are not of one state, or not of this model and height')
  }
  return {
    nodes: unpack(ServingSet, proof.nodes, 'nodes').nodes,
    priceMicro: proof.price === null ? undefined : unpack(Price, proof.price, 'price').micro,
    standsAt: proof.height + 1,
    appHash
  }
}
