// Asks one peer for an answer. Law: nothing is signed on the peer's word alone, and nothing it says of the answer is
// believed that can be checked. Leave the loop at 'terms' and nothing is signed; leave it later and the answer ends.
import { AnswerStream } from './answer.ts'
import type { Peer } from './connection.ts'
import { oneMessage, packBody } from './body.ts'
import { broken, ProtocolError } from './errors.ts'
import { Accepted, Ask, Declined, Done, Tokens, Trying, Working } from './frames.ts'
import { VERSION, type Genesis } from './genesis.ts'
import { same } from './hash.ts'
import type { Facts } from './header.ts'
import { query } from './query.ts'
import { plainReceipt, problemsOf, type Draw } from './receipt.ts'
import type { SignedRequest } from './records.ts'
import { signRequest, termsOf, type Payer, type Question, type Terms } from './request.ts'
import { openServing, type Serving } from './serving.ts'
import { hex, table, type Value } from './shape.ts'
import { FrameStream } from './stream.ts'
import { pause, Prover, type Ground } from './tip.ts'

const FRAME_WAIT_MS = 70_000 // an agent gives up on a silent executor first, and says so
const WAITS = 8 // for an agent that has too many requests
const WAIT_MS = 1000 // for each height that it names
const MAX_WAIT = 8 // heights

export type Event =
  | { event: 'terms', terms: Terms }
  | { event: 'waiting', waitMs: number, reason: string, left: number }
  | { event: 'accepted', accepted: Value<typeof Accepted.shape>, drawHeight: number }
  | { event: 'executor', node: Uint8Array }
  | { event: 'busy' | 'failed', node: Uint8Array, reason: string }
  | { event: 'tokens', text: string, tokens: number[] }
  | { event: 'done', text: string, receipt: Record<string, unknown> }

/** The events of one answer; the last one is 'done', with the receipt. Throws ProtocolError. */
export async function * ask (peer: Peer, genesis: Genesis, question: Question, payer: Payer): AsyncGenerator<Event> {
  const prover = new Prover(genesis, async (asked, shape) => await query(peer.connection, asked, shape))
  let nonce: bigint | undefined
  for (let waits = 0; ;) {
    const ground = await prover.ground(payer.key.public, question.model)
    const terms = termsOf(prover, ground, question)
    yield { event: 'terms', terms }
    const signed = await signRequest(prover, ground, terms, question, payer, peer.key, nonce)
    nonce = signed.request.nonce
    for (const waitsBefore = waits; ;) {
      let isAccepted = false
      try {
        for await (const event of answer(peer, prover, ground, signed, question)) {
          isAccepted = true
          yield event
        }
        return
      } catch (error) {
        if (!(error instanceof ProtocolError) || isAccepted) throw error
        // its draw grew old while it waited: sign again, with the same nonce, so that it is paid once
        if (error.kind === 'invalid_request' && error.field === 'draw_height' && waits > waitsBefore) break
        // only this refusal costs nothing and passes; any other says something of the request or the account
        const passes = error.kind === 'overloaded' && error.field === 'agent' && error.retryAfter <= MAX_WAIT
        if (!passes || waits === WAITS) throw error
        const waitMs = WAIT_MS * Math.max(1, error.retryAfter) * (1 + Math.random() / 2)
        waits++
        yield { event: 'waiting', waitMs, reason: error.message, left: WAITS - waits }
        await pause(waitMs)
      }
    }
  }
}

/** Send the request once, and follow its answer to the receipt. */
async function * answer (
  peer: Peer, prover: Prover, { facts }: Ground, signed: Value<typeof SignedRequest>, { prompt, model }: Question
): AsyncGenerator<Event> {
  const stream = await FrameStream.open(peer.connection, 'infer')
  const state = new AnswerStream(signed)
  let serving: Serving | undefined
  let isOver = false
  try {
    await stream.send(Ask, { version: VERSION, signedRequest: signed, body: packBody(oneMessage(prompt)), rows: false })
    while (true) {
      const frame = await stream.receive(FRAME_WAIT_MS, Accepted, Trying, Declined, Tokens, Working, Done)
      switch (frame.tag) {
        case 'accepted':
          state.accept(frame)
          yield { event: 'accepted', accepted: frame, drawHeight: facts.height }
          serving = await look(peer, model, facts.height) // now, while the peer's state knows the set
          break
        case 'trying':
          state.trying(frame)
          yield { event: 'executor', node: frame.node }
          break
        case 'declined':
          state.declined(frame)
          yield { event: frame.busy === null ? 'failed' : 'busy', node: frame.node, reason: frame.reason }
          break
        case 'working':
          break
        case 'tokens':
          state.add(frame)
          yield { event: 'tokens', text: frame.text, tokens: frame.tokens }
          break
        case 'done': {
          const { accepted, tokens, text } = state
          if (accepted === undefined) throw broken('frame', 'finished before it was accepted')
          isOver = true
          const draw = await settle(prover, facts, serving)
          const answered = { agent: peer.key, signed, accepted, done: frame, tokens, text }
          const problems = [...problemsOf(answered, draw), ...state.problems(frame)]
          const receipt = plainReceipt(answered, draw, problems, state.passedOver(frame), peer.id)
          yield { event: 'done', text, receipt }
          return
        }
      }
    }
  } finally {
    // a reset tells the agent to stop, and to charge for no more
    if (isOver) await stream.close()
    else stream.reset()
  }
}

/** Who was serving at the draw's height, by the peer's word; undefined where it shows no proof. */
async function look (peer: Peer, model: string, height: number): Promise<Serving | undefined> {
  try {
    const { proof } = await query(peer.connection, { op: 'serving', model, height }, table({ proof: hex }))
    return openServing(proof, model, height)
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}

/** Follow headers to the one that stands for the set. A set that a header contradicts is no set. */
async function settle (prover: Prover, facts: Facts, serving: Serving | undefined): Promise<Draw> {
  const draw = { height: facts.height, beacon: facts.beacon }
  if (serving === undefined) return { ...draw, serving: undefined, known: 'not checked' }
  try {
    const { appHash } = await prover.header(facts, serving.standsAt)
    if (!same(appHash, serving.appHash)) return { ...draw, serving: undefined, known: 'not checked' }
    return { ...draw, serving: serving.nodes, known: 'proved' }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    return { ...draw, serving: serving.nodes, known: "the peer's word" } // that header is not decided yet
  }
}
