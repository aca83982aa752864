// What a client signs on: the height and beacon of its draw, its nonce, its price.
// Law: nothing is signed on a peer's word alone. The height is proved by its header's certificate, from the genesis
// file on; a nonce is near the last one used here, or proved; a price is near the genesis file's, or its user said so.
import { broken, ProtocolError } from './errors.ts'
import type { Genesis } from './genesis.ts'
import { same, toHex } from './hash.ts'
import type { Facts } from './header.ts'
import { follow, genesisFacts } from './light.ts'
import type { Nonces } from './nonces.ts'
import { anything, count, hex, list, message, nullable, table, u64, unpack, type Shape, type Value } from './shape.ts'
import { impliedAppHash, TreeProof } from './tree.ts'

/** Asks one peer. */
export type Ask = <T>(question: { op: string } & Record<string, unknown>, shape: Shape<T>) => Promise<T>

const Tip = table({
  height: count,
  light: nullable(hex), // the newest header with its certificate; null at height 0
  next_nonce: u64,
  balance_micro: u64,
  price_micro: nullable(u64), // of a token of the model asked about; null: it is not in use
  notices: list(anything, 64) // what became of earlier inferences; not used here
})
const Light = table({ height: count, light: hex })
const Proved = table({ height: count, value: nullable(hex), proof: hex })
const Account = message({ balanceMicro: u64, nonceHigh: u64, nonceMask: u64, provenMicro: u64 })

const HEADER_WAIT_MS = 30_000
const ASK_AGAIN_MS = 300
const NONCES_ON_WORD = 64n // so far beyond the last nonce used here a peer is believed
const MAX_NONCE_AHEAD = 1024n // of the chain's: nonces above the highest used one
const PRICE_FACTOR = 2n

export interface Ground {
  facts: Facts // of the newest header, trusted
  tip: Value<typeof Tip> // what the peer says beside it
}

export class Prover {
  readonly genesis: Genesis
  readonly #ask: Ask

  constructor (genesis: Genesis, ask: Ask) {
    this.genesis = genesis
    this.#ask = ask
  }

  /** The newest header that the peer shows, proved. */
  async ground (account: Uint8Array, model: string): Promise<Ground> {
    const tip = await this.#ask({ op: 'tip', account: toHex(account), model, since: 0 }, Tip)
    const start = genesisFacts(this.genesis)
    if (tip.height === 0) return { facts: start, tip }
    if (tip.light === null) throw broken('light', `the peer does not show its block ${tip.height}`)
    return { facts: await this.header(start, tip.height, tip.light), tip }
  }

  /** Header `height`, trusted because `trusted` is. first: that header, where the peer gave it already. */
  async header (trusted: Facts, height: number, first?: Uint8Array): Promise<Facts> {
    return await follow(trusted, height, this.genesis, async wanted => {
      if (first !== undefined && wanted === height) return first
      return (await this.#ask({ op: 'light', height: wanted }, Light)).light
    })
  }

  /** The highest nonce of an account that the chain knows, proved; waits for the next block. */
  async highestNonce (trusted: Facts, account: Uint8Array): Promise<bigint> {
    const { height, value, proof } = await this.#ask({ op: 'prove', kind: 'account', id: toHex(account) }, Proved)
    const key = Buffer.concat([Buffer.from('acct/'), account])
    const appHash = impliedAppHash(key, value, unpack(TreeProof, proof, 'proof'))
    if (height + 1 <= trusted.height) throw broken('proof', 'the peer proves something older than its own tip')
    const { appHash: right } = await this.#headerSoon(trusted, height + 1)
    if (appHash === undefined || !same(appHash, right)) {
      throw broken('proof', 'the peer proves what the chain does not say')
    }
    return value === null ? 0n : unpack(Account, value, 'account').nonceHigh
  }

  async #headerSoon (trusted: Facts, height: number): Promise<Facts> {
    for (const until = Date.now() + HEADER_WAIT_MS; Date.now() < until; await pause(ASK_AGAIN_MS)) {
      try {
        return await this.header(trusted, height)
      } catch (error) {
        if (!(error instanceof ProtocolError && error.code === 'not_found')) throw error
      }
    }
    const why = `block ${height}, which would prove what the peer says, did not come`
    throw new ProtocolError('unavailable', 'height', why)
  }
}

export const pause = async (ms: number): Promise<void> => { await new Promise(resolve => setTimeout(resolve, ms)) }

/** The lowest nonce that may be signed next. Nonces that were signed here and never came on chain are given up when
 * they are far above. */
export async function nextNonce (
  prover: Prover, { facts, tip }: Ground, account: Uint8Array, nonces: Nonces
): Promise<bigint> {
  const offered = tip.next_nonce
  const last = nonces.last(account)
  if (last - MAX_NONCE_AHEAD / 2n <= offered && offered <= last + NONCES_ON_WORD) return offered
  const high = await prover.highestNonce(facts, account)
  if (last > high + MAX_NONCE_AHEAD / 2n) nonces.keep(account, high)
  return high + 1n
}

/** The most per token that is signed, in micro-credits. said: the user's own bound. Throws ProtocolError where a
 * token costs more. */
export function priceLimit (genesis: Genesis, model: string, seen: bigint | null, said: bigint | undefined): bigint {
  const invalid = (field: string, why: string): ProtocolError => new ProtocolError('invalid_request', field, why)
  if (seen === null) throw invalid('model', `the peer knows no model ${model.slice(0, 60)}`)
  const known = genesis.models.find(one => one.model === model)?.priceMicro
  const most = said ?? (known === undefined ? 0n : PRICE_FACTOR * known)
  if (seen > most) {
    const bound = said !== undefined ? '--max-price allows' : `${PRICE_FACTOR} times what the genesis file says`
    throw invalid('max_price', `a token of ${model} costs ${seen} micro-credits now, says the peer: more than` +
      ` ${bound}; to pay that, say --max-price ${seen}`)
  }
  return said ?? (PRICE_FACTOR * seen < most ? PRICE_FACTOR * seen : most)
}
