// The light client: from one trusted header to a later one, without the blocks between.
// Law: a header is trusted when, within the trusting period, more than a third of the set trusted last and more than
// two thirds of its own set signed it; for the very next height its set must be the one that was announced.
import { broken, ProtocolError } from './errors.ts'
import type { Genesis } from './genesis.ts'
import { factsOf, type Facts } from './header.ts'

const TRUSTING_MS = 14 * 24 * 3600 * 1000
const MAX_AHEAD_MS = 10_000 // how far a header's time may be ahead of our clock

/** An encoded light block of a height, from a peer. */
export type Source = (height: number) => Promise<Uint8Array>

/** The genesis file, trusted as height 0: its set decides height 1. */
export function genesisFacts ({ timeMs, hash, validators }: Genesis): Facts {
  return { height: 0, timeMs, beacon: hash, appHash: hash, validators, nextValidators: validators, signers: [] }
}

const BETWEEN = 'a header between the two is needed'

/** Why `next` cannot be trusted because `trusted` is; undefined where it can. */
function judge (trusted: Facts, next: Facts, trustingMs: number): string | undefined {
  const invalid: Array<[boolean, string]> = [
    [trusted.timeMs + trustingMs <= Date.now(), 'the trusted header is outside its trusting period'],
    [next.signers.some(key => !next.validators.has(key)), 'a key outside its set signed'],
    [next.timeMs <= trusted.timeMs, "its time is not after the trusted header's"],
    [next.height === trusted.height + 1 && !next.validators.equals(trusted.nextValidators),
      'its validator set is not the one that was announced']
  ]
  const wrong = invalid.find(([holds]) => holds)
  if (wrong !== undefined) return wrong[1]
  if (!trusted.nextValidators.hasHonest(next.signers)) return BETWEEN
  return next.validators.isQuorum(next.signers) ? undefined : 'not more than two thirds of its own set signed'
}

/** Trust header `target` because `trusted` is. Throws ProtocolError where it cannot be. The genesis file is trusted
 * however old it is, because there is no later header yet. */
export async function follow (trusted: Facts, target: number, genesis: Genesis, source: Source): Promise<Facts> {
  const trustingMs = Date.now() - genesis.timeMs + TRUSTING_MS
  const goals = [target]
  let last = trusted
  while (goals.length > 0) {
    const height = goals[goals.length - 1]
    if (height <= last.height) {
      goals.pop()
      continue
    }
    const next = factsOf(await source(height), genesis.network)
    if (next.height !== height) throw broken('height', `asked for header ${height}, got ${next.height}`)
    const why = judge(last, next, trustingMs)
    if (why === BETWEEN && height > last.height + 1) {
      goals.push(Math.floor((last.height + height) / 2))
      continue
    }
    if (why !== undefined) {
      const reason = why === BETWEEN ? 'too few of the trusted set signed' : why
      throw broken('header', `header ${height} cannot be trusted: ${reason}`)
    }
    const aheadMs = next.timeMs - Date.now()
    if (aheadMs > MAX_AHEAD_MS) {
      const aheadS = Math.round(aheadMs / 1000)
      throw new ProtocolError('unavailable', 'clock', `header ${height} is ${aheadS} s ahead of our clock: set it`)
    }
    last = next
  }
  return last
}
