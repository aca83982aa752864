// The frames of the streams `infer` and `query`. Law: one frame is one message, an array that begins with its kind's
// tag; a reader names the kinds it expects. As in p2p/wire/frames.py.
import { decode, encode } from './codec.ts'
import { broken } from './errors.ts'
import { SignedBusy, SignedFinish, SignedRequest } from './records.ts'
import { bytes, bytes32, bytes64, flag, list, message, nullable, text, u32, type Shape, type Value } from './shape.ts'

export interface Frame<Tag extends string = string, T = any> { tag: Tag, shape: Shape<T> }
export type Read<F extends Frame> = F extends Frame<infer Tag, infer T> ? { tag: Tag } & T : never

function frame<Tag extends string, F extends Record<string, Shape<any>>> (
  tag: Tag, fields: F
): Frame<Tag, { [K in keyof F]: Value<F[K]> }> {
  return { tag, shape: message(fields) }
}

// sent by a client
export const Ask = frame('ask', { version: u32, signedRequest: SignedRequest, body: bytes(1, 1 << 20), rows: flag })
export const Query = frame('query', { version: u32, body: bytes(0, 4096) })

// the answer to a Query
export const Answer = frame('answer', { body: bytes(0, 1 << 21) }) // CBOR of a map

// the answer to an Ask: Accepted, then these in turn, and in the end Done
export const Accepted = frame('accepted', {
  inferenceId: bytes32, agent: bytes32, beacon: bytes32, candidates: list(bytes32, 64)
})
export const Trying = frame('trying', { node: bytes32 })
export const Declined = frame('declined', { node: bytes32, reason: text(300), busy: nullable(SignedBusy) })
export const Tokens = frame('tokens', {
  position: u32, // of the first of them in the answer
  tokens: list(u32, 4096, 1),
  text: text(1 << 16),
  signature: bytes64, // the executor's, over a Streamed up to the last of them
  rows: bytes(0, 1 << 17) // empty, unless the Ask wants them
})
export const Working = frame('working', { silenceMs: u32 }) // no token yet, but the executor is at work
export const Done = frame('done', { finish: SignedFinish, artifact: bytes(0, 1 << 23), cached: u32 })

// instead of any answer
export const Failure = frame('failure', { code: text(96), field: text(96), message: text(300), retryAfter: u32 })

export function packFrame<T> (kind: Frame<string, T>, value: T): Uint8Array {
  return encode([kind.tag, ...kind.shape.write(value) as unknown[]])
}

/** Throws ProtocolError for a frame of another kind, and for one that does not fit its kind. */
export function parseFrame<K extends readonly Frame[]> (data: Uint8Array, ...kinds: K): Read<K[number]> {
  const plain = decode(data)
  const tag = Array.isArray(plain) ? plain[0] : undefined
  const kind = kinds.find(one => one.tag === tag)
  if (kind === undefined) {
    const found = typeof tag === 'string' ? `a frame ${tag.slice(0, 20)}` : 'no frame'
    throw broken('frame', `${found} came where ${kinds.map(one => one.tag).join(' or ')} is expected`)
  }
  return { tag: kind.tag, ...kind.shape.read((plain as unknown[]).slice(1), kind.tag) } as Read<K[number]>
}
