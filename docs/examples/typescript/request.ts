// The request that a client signs. Law: what it may cost is known before it is signed; where something is wrong,
// nothing is signed and no nonce is used.
import { bodyHash, oneMessage, packBody } from './body.ts'
import { VERSION } from './genesis.ts'
import type { Key } from './keys.ts'
import type { Nonces } from './nonces.ts'
import { Params, Request, type SignedRequest } from './records.ts'
import { pack, type Value } from './shape.ts'
import { nextNonce, priceLimit, type Ground, type Prover } from './tip.ts'

const TEMPLATE_TOKENS = 64 // room for the chat template in the bound on prompt tokens
const DEADLINE_AHEAD = 300 // heights after the draw's

export const PARAMS: Value<typeof Params> = {
  temperatureMilli: 100, topK: 0, minPMilli: 0, topPMilli: 1000, presenceMilli: 0, frequencyMilli: 0,
  repetitionMilli: 1000, minTokens: 0, seed: null
}

export interface Question {
  model: string // its name in the genesis file
  prompt: string
  params: Value<typeof Params>
  maxTokens: number // of the answer
  maxPriceMicro?: bigint // of a token; left out: twice what the genesis file says
}

export interface Payer {
  key: Key // signs; its account pays
  nonces: Nonces
}

/** What a request may cost. */
export interface Terms {
  priceMicro: bigint // of a token now, by the peer's word
  maxPriceMicro: bigint // of a token, as it is signed
  tokens: number // the most of prompt and answer together
  balanceMicro: bigint // of the account, by the peer's word
}

/** No tokenizer makes more tokens of a text than it has bytes. */
const promptBound = (prompt: string): number => Buffer.byteLength(prompt) + TEMPLATE_TOKENS

/** Throws ProtocolError where a token costs more than is allowed. */
export function termsOf ({ genesis }: Prover, { tip }: Ground, question: Question): Terms {
  const maxPriceMicro = priceLimit(genesis, question.model, tip.price_micro, question.maxPriceMicro)
  const tokens = promptBound(question.prompt) + question.maxTokens
  return { priceMicro: tip.price_micro ?? 0n, maxPriceMicro, tokens, balanceMicro: tip.balance_micro }
}

/** Sign. agent: the peer that is asked; nobody else may start the request. nonce: of an earlier try of the same
 * request, so that it is paid once. */
export async function signRequest (
  prover: Prover, ground: Ground, terms: Terms, { model, prompt, params, maxTokens }: Question, { key, nonces }: Payer,
  agent: Uint8Array, nonce?: bigint
): Promise<Value<typeof SignedRequest>> {
  const lowest = await nextNonce(prover, ground, key.public, nonces)
  const { height } = ground.facts
  const request = {
    version: VERSION,
    network: prover.genesis.network,
    account: key.public,
    nonce: nonce ?? nonces.take(key.public, lowest),
    model,
    bodyHash: bodyHash(packBody(oneMessage(prompt))),
    params,
    promptTokensMax: promptBound(prompt),
    maxTokens,
    maxPriceMicro: terms.maxPriceMicro,
    deadlineHeight: BigInt(height + DEADLINE_AHEAD),
    signer: key.public,
    drawHeight: BigInt(height),
    agent,
    session: new Uint8Array(32),
    sessionHeight: 0n
  }
  return { request, signature: key.sign('request', request.network, pack(Request, request)) }
}
