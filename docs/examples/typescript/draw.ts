// The public weighted draw. Law: anyone can compute it again; it depends on beacon, inference and candidates alone.
// Pick i takes H(domain, beacon, id, i) mod (weight left) along the candidates in ascending order of key.
import { digest, same, toHex, u32be } from './hash.ts'
import type { Member } from './validators.ts'

export const MAX_CANDIDATES = 8

/** The executors of a request, in the order in which the agent asks them; never the agent itself. */
export function drawExecutors (
  beacon: Uint8Array, inferenceId: Uint8Array, serving: Member[], agent: Uint8Array
): Uint8Array[] {
  const left = serving.filter(([node, weight]) => weight > 0n && !same(node, agent))
    .sort(([a], [b]) => Buffer.compare(a, b))
  const drawn: Uint8Array[] = []
  while (left.length > 0 && drawn.length < MAX_CANDIDATES) {
    const total = left.reduce((sum, [, weight]) => sum + weight, 0n)
    let point = BigInt('0x' + toHex(digest('draw-executors', beacon, inferenceId, u32be(drawn.length)))) % total
    const at = left.findIndex(([, weight]) => {
      if (point < weight) return true
      point -= weight
      return false
    })
    drawn.push(...left.splice(at, 1).map(([node]) => node))
  }
  return drawn
}
