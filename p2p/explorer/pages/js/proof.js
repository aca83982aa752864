// Reads the proof of one answer (`folkmoot ask --save`, or the chat's `prove it`). Law: it stays in this browser.
import { decode } from './cbor.js'
import { digest, merkleRoot, toHex } from './hash.js'

const VERSION = 3 // of the protocol
const LEAF_POSITIONS = 32
const TOP_RANKS = 8

/** {inferenceId, text, rows, root, rootMatches, stack, model}. Throws for what is no proof. */
export function readProof (bytes) {
  const [version, , , , finish, artifact, , text] = decode(bytes)
  if (version !== VERSION || !Array.isArray(finish)) throw new Error('this is not a proof of an answer')
  const record = finish[0]
  const [headerBytes, packed] = decode(artifact)
  const header = decode(headerBytes)
  const bits = header[14]
  const length = header[15]
  const size = rowBytes(bits)
  if (packed.length !== size * length) throw new Error('its artifact has another length than it says')
  const leaves = [headerBytes]
  for (let at = 0; at < packed.length; at += LEAF_POSITIONS * size) {
    leaves.push(packed.subarray(at, at + LEAF_POSITIONS * size))
  }
  const rows = Array.from({ length }, (_, at) => readRow(packed.subarray(at * size, (at + 1) * size), bits))
  const root = merkleRoot(leaves)
  return {
    inferenceId: toHex(record[0]), executor: toHex(record[1]), model: header[2], stack: header[6], text, rows,
    root: toHex(root), rootMatches: toHex(root) === toHex(record[2]), outputMatches: matches(rows, record[3])
  }
}

function matches (rows, wanted) {
  const words = rows.map(({ token }) => Uint8Array.of(token >> 24, token >> 16 & 255, token >> 8 & 255, token & 255))
  return toHex(digest('output', ...words)) === toHex(wanted)
}

const rowBytes = bits => bits + 16 + TOP_RANKS * (bits + 8) + 8 + 7 >> 3

function readRow (raw, bits) {
  let whole = 0n
  for (let at = raw.length - 1; at >= 0; at--) whole = whole << 8n | BigInt(raw[at])
  let at = 0n
  const take = width => {
    const value = whole >> at & (1n << BigInt(width)) - 1n
    at += BigInt(width)
    return Number(value)
  }
  const token = take(bits)
  const logprob = -take(16) / 1024
  const top = Array.from({ length: TOP_RANKS }, () => [take(bits), -take(8) / 16])
  return { token, logprob, top, tail: -take(8) / 16, rank: top.findIndex(([one]) => one === token) }
}

/** How far the likeliest candidate was ahead of the next one, in nats. */
export const gap = row => row.top[0][1] - row.top[1][1]
