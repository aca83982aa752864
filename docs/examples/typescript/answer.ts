// One answer, frame by frame. Law: executors are asked in the draw's order; tokens are believed once their executor's
// signature is checked; each frame brings the end nearer, and one that does not ends the stream.
import { chainAfter, isStreamed, parseArtifact } from './artifact.ts'
import { broken, ProtocolError } from './errors.ts'
import type { Accepted, Declined, Done, Read, Tokens, Trying } from './frames.ts'
import { same } from './hash.ts'
import { isSigned } from './keys.ts'
import { BusyRecord, inferenceId, type SignedRequest } from './records.ts'
import { pack, type Value } from './shape.ts'

const MAX_TOKEN_TEXT = 512 // bytes of text that one token can stand for

export class AnswerStream {
  readonly signed: Value<typeof SignedRequest>
  accepted: Read<typeof Accepted> | undefined
  readonly tokens: number[] = []
  text = ''
  #tried: Uint8Array[] = [] // executors, the last one perhaps still
  #busy: Uint8Array[] = [] // those that signed that they are
  #isOpen = false // the last one is still asked
  #first = 0 // its first token
  #chain: Uint8Array

  constructor (signed: Value<typeof SignedRequest>) {
    this.signed = signed
    this.#chain = inferenceId(signed)
  }

  accept (frame: Read<typeof Accepted>): void {
    if (this.accepted !== undefined) throw broken('frame', 'accepted twice')
    this.accepted = frame
  }

  trying ({ node }: Read<typeof Trying>): void {
    const next = this.accepted?.candidates[this.#tried.length]
    if (this.#isOpen || next === undefined || !same(next, node)) {
      throw broken('frame', 'the agent does not ask those drawn one after the other')
    }
    this.#tried.push(node)
    this.#isOpen = true
    this.#first = this.tokens.length
  }

  declined ({ node, busy }: Read<typeof Declined>): void {
    if (!this.#isAsked(node)) throw broken('frame', 'an executor passed that was not tried')
    this.#isOpen = false
    const { network } = this.signed.request
    const isItsWord = busy !== null && same(busy.record.executor, node) &&
      same(busy.record.inferenceId, inferenceId(this.signed)) &&
      isSigned(node, 'busy', network, pack(BusyRecord, busy.record), busy.signature)
    if (isItsWord) this.#busy.push(node)
  }

  add (frame: Read<typeof Tokens>): void {
    const { request } = this.signed
    const upto = this.tokens.length + frame.tokens.length
    if (frame.position !== this.tokens.length || upto > request.maxTokens) {
      throw broken('position', 'tokens that do not follow on those before, or more than were asked for')
    }
    // a character may begin with a token that was sent before
    if (Buffer.byteLength(frame.text) > MAX_TOKEN_TEXT * (frame.tokens.length + 1)) {
      throw broken('text', `more than ${MAX_TOKEN_TEXT} bytes of text per token`)
    }
    const executor = this.#isOpen ? this.#tried.at(-1) : undefined
    if (executor === undefined) throw broken('frame', 'tokens came before an executor was asked')
    this.#chain = chainAfter(this.#chain, frame.tokens)
    const record = {
      inferenceId: inferenceId(this.signed), executor, first: this.#first, tokens: upto, chain: this.#chain
    }
    if (!isStreamed(record, request.network, frame.signature)) {
      throw broken('signature', 'the tokens are not signed by the executor')
    }
    this.tokens.push(...frame.tokens)
    this.text += frame.text
  }

  /** What is wrong with who answered. */
  problems ({ finish }: Read<typeof Done>): string[] {
    return this.#isAsked(finish.record.executor) ? [] : ['the executor is not the one that was tried last']
  }

  /** Executors before the last one of whom only the agent says that they did not answer: they signed neither tokens nor
   * that they are busy. Nobody can prove that an executor could not be reached, so this is counted, not refused. */
  passedOver ({ artifact }: Read<typeof Done>): Uint8Array[] {
    const signed = [...this.#busy, ...streamers(artifact)]
    return this.#tried.slice(0, -1).filter(node => !signed.some(one => same(one, node)))
  }

  #isAsked (node: Uint8Array): boolean {
    const last = this.#tried.at(-1)
    return this.#isOpen && last !== undefined && same(last, node)
  }
}

/** Whose signed words the artifact has beside its executor's. */
function streamers (artifact: Uint8Array): Uint8Array[] {
  try {
    return parseArtifact(artifact).header.taken.map(({ record }) => record.executor)
  } catch (error) {
    if (error instanceof ProtocolError) return []
    throw error
  }
}
