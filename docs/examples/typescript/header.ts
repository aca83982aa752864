// A block's header, and the certificate with which validators decided it. Law: every signature is verified before any
// weight is counted.
import { broken } from './errors.ts'
import { digest, same } from './hash.ts'
import { isSigned } from './keys.ts'
import {
  bytes, bytes32, bytes64, count, list, message, pack, pair, text, u32, unpack, whole, type Value
} from './shape.ts'
import { MAX_VALIDATORS, MemberRows, Validators } from './validators.ts'

export const Header = message({
  version: u32,
  network: text(96),
  height: count,
  round: u32,
  timeMs: count,
  lastBlockId: bytes32,
  validatorsHash: bytes32, // of the set that decides this height
  nextValidatorsHash: bytes32, // of the set that decides the next
  appHash: bytes32, // of the state after height - 1
  txRoot: bytes32,
  beacon: bytes32, // draws follow from it
  beaconProof: bytes(0, 80), // the proposer's VRF proof; validators check it before they sign
  proposer: bytes32
})
const Certificate = message({
  height: count, round: u32, blockId: bytes32, signatures: list(pair(bytes32, bytes64), MAX_VALIDATORS)
})
export const LightBlock = message({
  header: Header, certificate: Certificate, validators: MemberRows, nextValidators: MemberRows
})

// a precommit, as each signature of a certificate is about it
const Vote = message({
  network: text(96), type: u32, height: count, round: u32, blockId: bytes32, validRound: whole(-1, -1),
  validator: bytes32
})
const PRECOMMIT = 2

/** What the light client's rule needs of a header. */
export interface Facts {
  height: number
  timeMs: number
  beacon: Uint8Array
  appHash: Uint8Array
  validators: Validators
  nextValidators: Validators
  signers: Uint8Array[] // keys with a valid signature
}

/** The facts of an encoded light block. Throws ProtocolError where a signature or a set is not the header's. */
export function factsOf (raw: Uint8Array, network: string): Facts {
  const { header, certificate, ...sets } = unpack(LightBlock, raw, 'light')
  const blockId = digest('block', pack(Header, header))
  const isAbout = certificate.height === header.height && same(certificate.blockId, blockId)
  if (header.network !== network || !isAbout) throw broken('certificate', 'the certificate is about another block')
  const signers = certificate.signatures.map(([validator]) => validator)
  const ascend = signers.every((key, at) => at === 0 || Buffer.compare(signers[at - 1], key) < 0)
  if (!ascend || !certificate.signatures.every(row => isPrecommit(network, certificate, row))) {
    throw broken('certificate', 'a signature of the certificate is wrong')
  }
  const validators = new Validators(sets.validators)
  const nextValidators = new Validators(sets.nextValidators)
  const match = [[validators, header.validatorsHash], [nextValidators, header.nextValidatorsHash]] as const
  if (!match.every(([set, hash]) => same(set.hash(), hash))) {
    throw broken('validators', 'a validator set is not the one the header names')
  }
  const { height, timeMs, beacon, appHash } = header
  return { height, timeMs, beacon, appHash, validators, nextValidators, signers }
}

function isPrecommit (
  network: string, { height, round, blockId }: Value<typeof Certificate>,
  [validator, signature]: [Uint8Array, Uint8Array]
): boolean {
  const vote = { network, type: PRECOMMIT, height, round, blockId, validRound: -1, validator }
  return isSigned(validator, 'precommit', network, pack(Vote, vote), signature)
}
