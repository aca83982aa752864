// The greeting of two peers on `/folkmoot/peers/1`. Law: a peer counts once it has greeted with the same network; one
// of another network or version is told so in a sentence.
import { randomBytes } from 'node:crypto'
import { decode } from './codec.ts'
import { broken, ProtocolError } from './errors.ts'
import { VERSION } from './genesis.ts'
import { bytes, flag, list, message, pack, text, u32, type Value } from './shape.ts'
import type { FrameStream } from './stream.ts'

const kind = text(10)
const start = bytes(8, 8) // a random number of this run: it tells a restart from a copy of the key
const addresses = list(text(256), 8) // multiaddrs where the sender listens; empty: it cannot be dialled
const Entry = message({ peer: text(96), addresses })
export const Hello = message({ version: u32, kind, network: text(96), start, addresses })
export const Welcome = message({
  version: u32, kind, start,
  twin: flag, // another peer greets with the receiver's key
  addresses,
  peers: list(Entry, 32) // whom the sender is connected to
})
export const Refusal = message({ version: u32, kind, code: text(96), field: text(96), message: text(300) })

const START = randomBytes(8)

/** Greet, on a stream that was just opened. Throws ProtocolError with the peer's own sentence where it refuses. */
export async function greet (
  stream: FrameStream, network: string, listens: string[] = []
): Promise<Value<typeof Welcome>> {
  await stream.write(pack(Hello, { version: VERSION, kind: 'hello', network, start: START, addresses: listens }))
  const plain = decode(await stream.read())
  await stream.close()
  if (!Array.isArray(plain) || plain[0] !== VERSION) {
    throw broken('version', `the peer speaks no protocol version ${VERSION}`)
  }
  if (plain[1] === 'refusal') {
    const { code, field, message } = Refusal.read(plain, 'refusal')
    throw new ProtocolError('remote_protocol', field, message, code)
  }
  return Welcome.read(plain, 'welcome')
}

/** Answer a greeting, as a peer that listens must. peers: whom this one is connected to. Returns the greeting, or
 * undefined where it was refused or is a farewell. */
export async function answerGreeting (
  stream: FrameStream, network: string, listens: string[], peers: Array<Value<typeof Entry>>
): Promise<Value<typeof Hello> | undefined> {
  const plain = decode(await stream.read())
  const [version, what] = Array.isArray(plain) ? plain : []
  if (version === VERSION && what !== 'hello') return undefined
  const hello = version === VERSION ? Hello.read(plain, 'hello') : undefined
  const wrong = hello === undefined ? otherVersion(version) : otherNetwork(network, hello.network)
  const answer = wrong !== undefined
    ? pack(Refusal, { version: VERSION, kind: 'refusal', ...wrong })
    : pack(Welcome, { version: VERSION, kind: 'welcome', start: START, twin: false, addresses: listens, peers })
  await stream.write(answer)
  await stream.close()
  return wrong === undefined ? hello : undefined
}

interface Wrong { code: string, field: string, message: string }

function otherVersion (version: unknown): Wrong {
  const message = `protocol version ${String(version).slice(0, 20)} is not supported; this peer uses version ${VERSION}`
  return { code: 'version', field: 'version', message }
}

function otherNetwork (ours: string, theirs: string): Wrong | undefined {
  if (ours === theirs) return undefined
  const [name, otherName] = [ours, theirs].map(id => id.split('@')[0])
  const [code, message] = name === otherName
    ? ['other_genesis', `another genesis under the same name '${name}'; get the network's own file`]
    : ['wrong_network', `this peer serves network '${name}', not '${otherName}'`]
  return { code, field: 'network', message }
}
