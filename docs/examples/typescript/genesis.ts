// The genesis file: which network it is, who decides its first block, what a token costs at first.
// Law: the network's id is its name and 128 bits of the file's hash, so every signature is about this very file.
import { readFileSync } from 'node:fs'
import { ProtocolError } from './errors.ts'
import { digest, toHex } from './hash.ts'
import { anything, bytes32, count, list, message, text, u32, u64, unpack, unread, type Value } from './shape.ts'
import { Validators } from './validators.ts'

export const VERSION = 3 // of the protocol
const MOST = 1 << 16 // peers or models

const Peer = message({ node: bytes32, owner: bytes32, weight: u64, ...unread(1) })
const Model = message({
  model: text(96), weightsHash: bytes32, templateHash: bytes32, precision: text(96), priceMicro: u64, ...unread(13)
})
// what comes behind the models says how the network checks and pays; a client needs none of it
const File = message({
  version: u32, name: text(63), timeMs: count, peers: list(Peer, MOST), accounts: anything, models: list(Model, MOST),
  ...unread(8)
})

export interface Genesis {
  network: string // its id
  hash: Uint8Array // also the beacon of height 0
  timeMs: number // of height 0
  validators: Validators // that decide block 1
  models: Array<Value<typeof Model>>
}

export function loadGenesis (file: string): Genesis {
  try {
    return parseGenesis(readFileSync(file))
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new ProtocolError('config', 'genesis', `${file} is no genesis file of protocol version ${VERSION}: ${why}`)
  }
}

export function parseGenesis (raw: Uint8Array): Genesis {
  const { version, name, timeMs, peers, models } = unpack(File, raw, 'genesis')
  if (version !== VERSION) throw new Error(`it names version ${version}`)
  const hash = digest('genesis', raw)
  const validators = new Validators(peers.map(({ node, weight }) => [node, weight]))
  return { network: `${name}@${toHex(hash).slice(0, 32)}`, hash, timeMs, validators, models }
}
