// What the TypeScript client makes of bytes that Python made: one JSON line in, one out (../test_same_bytes.py).
import { createInterface } from 'node:readline'
import { decode } from '../../../docs/examples/typescript/codec.ts'
import { drawExecutors } from '../../../docs/examples/typescript/draw.ts'
import { ProtocolError } from '../../../docs/examples/typescript/errors.ts'
import * as frames from '../../../docs/examples/typescript/frames.ts'
import { parseGenesis } from '../../../docs/examples/typescript/genesis.ts'
import * as greeting from '../../../docs/examples/typescript/greeting.ts'
import { toHex } from '../../../docs/examples/typescript/hash.ts'
import * as header from '../../../docs/examples/typescript/header.ts'
import { Key, type Domain } from '../../../docs/examples/typescript/keys.ts'
import { follow, genesisFacts } from '../../../docs/examples/typescript/light.ts'
import { problemsOf } from '../../../docs/examples/typescript/receipt.ts'
import * as records from '../../../docs/examples/typescript/records.ts'
import { pack, unpack, type Shape } from '../../../docs/examples/typescript/shape.ts'
import * as tree from '../../../docs/examples/typescript/tree.ts'

type Words = Record<string, any>
const SHAPES: Words = { ...records, ...greeting, ...header, ...tree }
const raw = (digits: string): Buffer => Buffer.from(digits, 'hex')
const members = (rows: Array<[string, number]>): Array<[Uint8Array, bigint]> =>
  rows.map(([node, weight]) => [raw(node), BigInt(weight)])

const OPS: Record<string, (words: Words) => object | Promise<object>> = {
  message: ({ name, bytes }) => {
    const shape = SHAPES[name] as Shape<unknown>
    return { bytes: toHex(pack(shape, unpack(shape, raw(bytes), name))) }
  },
  frame: ({ name, bytes }) => {
    const kind = (frames as Words)[name] as frames.Frame
    const { tag, ...fields } = frames.parseFrame(raw(bytes), kind)
    return { bytes: toHex(frames.packFrame(kind, fields)), tag }
  },
  decode: ({ bytes }) => {
    decode(raw(bytes))
    return {}
  },
  genesis: ({ bytes }) => {
    const { network, hash, validators } = parseGenesis(raw(bytes))
    return { network, hash: toHex(hash), validators: toHex(validators.hash()) }
  },
  // from the genesis file to the header `target`, with these light blocks
  follow: async ({ genesis, target, lights }) => {
    const trusted = parseGenesis(raw(genesis))
    const asked: number[] = []
    const { appHash, beacon } = await follow(genesisFacts(trusted), target, trusted, async height => {
      asked.push(height)
      return raw(lights[height])
    })
    return { asked, app_hash: toHex(appHash), beacon: toHex(beacon) }
  },
  state: ({ key, value, proof }) => {
    const found = value === null ? null : raw(value)
    const appHash = tree.impliedAppHash(raw(key), found, unpack(tree.TreeProof, raw(proof), 'proof'))
    return { app_hash: appHash === undefined ? null : toHex(appHash) }
  },
  signature: ({ seed, domain, network, body }) => {
    const key = new Key(raw(seed))
    return { public: toHex(key.public), signature: toHex(key.sign(domain as Domain, network, raw(body))) }
  },
  draw: ({ beacon, id, serving, agent }) =>
    ({ drawn: drawExecutors(raw(beacon), raw(id), members(serving), raw(agent)).map(toHex) }),
  problems: ({ agent, signed, accepted, done, tokens, text, height, beacon, serving }) => {
    const answered = {
      agent: raw(agent),
      signed: unpack(records.SignedRequest, raw(signed), 'signed'),
      accepted: frames.parseFrame(raw(accepted), frames.Accepted),
      done: frames.parseFrame(raw(done), frames.Done),
      tokens,
      text
    }
    const draw = {
      height, beacon: raw(beacon), serving: serving === null ? undefined : members(serving), known: 'proved' as const
    }
    return { problems: problemsOf(answered, draw) }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let found: object
  try {
    const { op, ...words } = JSON.parse(line) as Words
    found = await OPS[op](words)
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    found = { error: error.message, kind: error.kind }
  }
  process.stdout.write(JSON.stringify(found) + '\n')
}
