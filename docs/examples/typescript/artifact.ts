// The artifact: all that an executor claims of one answer. Law: canonical bytes, one Merkle root; as in
// p2p/verification/artifact.py. A client reads the header and each row's token; the candidates are for validators.
import { decode, encode } from './codec.ts'
import { broken } from './errors.ts'
import { digest, merkleRoot, same, u32be } from './hash.ts'
import { isSigned } from './keys.ts'
import { Handovers, Params, Streamed } from './records.ts'
import { bytes, bytes32, message, pack, pair, text, u32, unpack, whole, type Value } from './shape.ts'

const VERSION = 2
const LEAF_ROWS = 32 // rows of one Merkle leaf
const Parts = pair(bytes(0, 1 << 16), bytes(0, 1 << 22)) // the encoded header, the rows
const Header = message({
  version: u32,
  inferenceId: bytes32,
  model: text(96),
  weightsHash: bytes32,
  precision: text(96),
  kvPrecision: text(96),
  stack: text(96),
  templateHash: bytes32,
  bodyHash: bytes32,
  promptTokens: u32,
  promptTokensHash: bytes32,
  params: Params,
  seed: bytes32, // of the sampling noise
  finishReason: whole(0, 3),
  idBits: whole(16, 18), // of a token's id in a row: 16 or 18
  length: whole(0, 1 << 17), // rows
  taken: Handovers // signatures of executors that streamed the beginning and failed
})

export interface Artifact {
  header: Value<typeof Header>
  takenOver: number // tokens at the beginning that earlier executors made
  tokens: number[]
  root: Uint8Array
}

/** Throws ProtocolError for bytes that are no artifact. */
export function parseArtifact (raw: Uint8Array): Artifact {
  const [rawHeader, rows] = Parts.read(decode(raw), 'artifact')
  const header = unpack(Header, rawHeader, 'header')
  const { version, idBits, length, taken } = header
  if (version !== VERSION) throw broken('version', `artifact version ${version} is not supported`)
  if (idBits % 2 !== 0) throw broken('idBits', 'a token id has 16 or 18 bits')
  const bits = rowBits(idBits)
  const size = Math.ceil(bits / 8)
  if (rows.length !== length * size) throw broken('length', 'the header names another number of rows')
  const all = Array.from({ length }, (_, at) => rows.subarray(at * size, (at + 1) * size))
  // a row is packed from the lowest bit on, and what is left of its last byte is zero
  if (all.some(row => row[size - 1] >> ((bits - 1) % 8 + 1) !== 0)) {
    throw broken('rows', "bits after a row's end are set")
  }
  const tokens = all.map(row => (row[0] | row[1] << 8 | row[2] << 16) & ((1 << idBits) - 1))
  const leaves = [encode(Header.write(header))]
  for (let at = 0; at < rows.length; at += LEAF_ROWS * size) leaves.push(rows.subarray(at, at + LEAF_ROWS * size))
  return { header, takenOver: taken.at(-1)?.record.tokens ?? 0, tokens, root: merkleRoot(leaves) }
}

/** The chosen token (id, 16 bits), eight candidates (id, 8 bits each), and the tail (8 bits). */
const rowBits = (idBits: number): number => idBits + 16 + 8 * (idBits + 8) + 8

export const outputHash = (tokens: number[]): Uint8Array => digest('output', ...tokens.map(u32be))

/** The hash chain after more tokens. It begins with the inference's id. */
export const chainAfter = (chain: Uint8Array, tokens: number[]): Uint8Array =>
  tokens.reduce((before, token) => digest('streamed', before, u32be(token)), chain)

/** Whether `executor` signed that it streamed the tokens from `first` to `upto` - 1. */
export function isStreamed (record: Value<typeof Streamed>, network: string, signature: Uint8Array): boolean {
  return isSigned(record.executor, 'streamed', network, pack(Streamed, record), signature)
}

/** Whether `taken` proves that the drawn executors before `successor` streamed `tokens`. */
export function isHandedOver (
  taken: Value<typeof Handovers>, tokens: number[], network: string, inferenceId: Uint8Array, drawn: Uint8Array[],
  successor: Uint8Array
): boolean {
  const place = (node: Uint8Array): number => drawn.findLastIndex(one => same(one, node))
  let [at, chain, order] = [0, inferenceId, -1]
  for (const { record, signature } of taken) {
    const next = place(record.executor)
    chain = chainAfter(chain, tokens.slice(at, record.tokens))
    const follows = record.first === at && at < record.tokens && record.tokens <= tokens.length &&
      order < next && next < place(successor)
    if (!follows || !same(record.inferenceId, inferenceId) || !same(chain, record.chain)) return false
    if (!isStreamed(record, network, signature)) return false
    ;[at, order] = [record.tokens, next]
  }
  return at === tokens.length && place(successor) >= 0
}
