// A set of validators and what it can decide. Law: more than two thirds of the weight are a quorum; of more than one
// third at least one validator is honest.
import { merkleRoot, same, toHex } from './hash.ts'
import { bytes32, list, pack, pair, u64, type Value } from './shape.ts'

export const MemberRow = pair(bytes32, u64) // (node key, weight)
export type Member = Value<typeof MemberRow>
export const MAX_VALIDATORS = 128
export const MemberRows = list(MemberRow, MAX_VALIDATORS)

export class Validators {
  readonly #members: Member[] // ascending by key, with weight
  readonly #weights: Map<string, bigint>
  readonly #total: bigint

  constructor (members: Member[]) {
    this.#members = members.filter(([, weight]) => weight > 0n).sort(([a], [b]) => Buffer.compare(a, b))
    this.#weights = new Map(this.#members.map(([node, weight]) => [toHex(node), weight]))
    this.#total = this.#members.reduce((sum, [, weight]) => sum + weight, 0n)
  }

  has (node: Uint8Array): boolean {
    return this.#weights.has(toHex(node))
  }

  weightOf (nodes: Uint8Array[]): bigint {
    return nodes.reduce((sum, node) => sum + (this.#weights.get(toHex(node)) ?? 0n), 0n)
  }

  isQuorum (nodes: Uint8Array[]): boolean {
    return 3n * this.weightOf(nodes) > 2n * this.#total
  }

  hasHonest (nodes: Uint8Array[]): boolean {
    return 3n * this.weightOf(nodes) > this.#total
  }

  /** As in a header. */
  hash (): Uint8Array {
    return merkleRoot(this.#members.map(member => pack(MemberRow, member)))
  }

  equals (other: Validators): boolean {
    return same(this.hash(), other.hash())
  }
}
