// A js-libp2p peer with nothing of Folkmoot's Python: it takes JSON lines on stdin and answers each with its state.
// First argument: JSON with `topic` and `backoff_s`; `dial`, where it dials; `network`, the id with which it greets and
// answers greetings; `folder` of a client that asks. tests/gossip/test_interop.py, tests/interop/test_js_peer.py
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub, type GossipSub, type Message } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import type { Connection } from '@libp2p/interface'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { ask } from '../../../docs/examples/typescript/client.ts'
import { loadGenesis } from '../../../docs/examples/typescript/genesis.ts'
import { answerGreeting, greet } from '../../../docs/examples/typescript/greeting.ts'
import { Key } from '../../../docs/examples/typescript/keys.ts'
import { Nonces } from '../../../docs/examples/typescript/nonces.ts'
import { query } from '../../../docs/examples/typescript/query.ts'
import { PARAMS } from '../../../docs/examples/typescript/request.ts'
import { anything } from '../../../docs/examples/typescript/shape.ts'
import { FrameStream, protocol } from '../../../docs/examples/typescript/stream.ts'

const PATIENCE_MS = 120_000 // on a machine that is busy with other tests
interface Settings { topic: string, backoff_s: number, dial?: string, network?: string, folder?: string }
interface Mesh { // what its types do not show
  mesh: Map<string, Set<string>>
  getMeshPeers: (topic: string) => string[]
  sendPrune: (peer: string, topic: string) => Promise<void>
}
interface Command { op: string, peer: string, data: string, question: { op: string }, prompt: string }

const settings = JSON.parse(process.argv[2]) as Settings
const say = (words: object): void => { process.stdout.write(JSON.stringify(words) + '\n') }

/** The first 20 bytes of SHA-256 over the topic's length (8 bytes, little endian), the topic and the data. */
function messageId (message: Message): Uint8Array {
  const topic = Buffer.from(message.topic)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(topic.length))
  return createHash('sha256').update(length).update(topic).update(message.data).digest().subarray(0, 20)
}

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionManager: {
    dialTimeout: PATIENCE_MS,
    addressDialTimeout: PATIENCE_MS,
    inboundUpgradeTimeout: PATIENCE_MS,
    inboundStreamProtocolNegotiationTimeout: PATIENCE_MS,
    outboundStreamProtocolNegotiationTimeout: PATIENCE_MS
  },
  connectionMonitor: { enabled: false }, // a peer that is late is not dead
  services: {
    identify: identify(),
    ping: ping(),
    // clientMode: it asks and is not asked. The mapper keeps addresses of this machine.
    dht: kadDHT({ protocol: '/ipfs/kad/1.0.0', clientMode: true, peerInfoMapper: passthroughMapper }),
    pubsub: gossipsub({
      allowPublishToZeroTopicPeers: true,
      emitSelf: false,
      globalSignaturePolicy: 'StrictNoSign',
      msgIdFn: messageId,
      pruneBackoff: settings.backoff_s * 1000,
      unsubcribeBackoff: settings.backoff_s * 1000
    })
  }
})
const pubsub = node.services.pubsub as GossipSub & Mesh
const got: string[] = []
pubsub.addEventListener('message', event => got.push(Buffer.from(event.detail.data).toString('hex')))
pubsub.subscribe(settings.topic)

/** What the first peer says of itself; the library asks each peer as soon as it is connected. */
const identified = new Promise<object>(resolve => {
  node.addEventListener('peer:identify', ({ detail: { peerId, agentVersion, protocols, listenAddrs } }) => {
    resolve({ peer: peerId.toString(), agentVersion, protocols, addresses: listenAddrs.map(String) })
  }, { once: true })
})
const greeted: string[] = [] // by whom
const known = new Map<string, string[]>() // peers of its network -> where they listen
const listens = (): string[] => node.getMultiaddrs().map(String)
const { network } = settings
if (network !== undefined) {
  await node.handle(protocol('peers'), async (stream, connection) => {
    const peer = connection.remotePeer.toString()
    const others = [...known].map(([peer, addresses]) => ({ peer, addresses })).filter(one => one.peer !== peer)
    const hello = await answerGreeting(new FrameStream(stream), network, listens(), others)
    if (hello === undefined) return
    greeted.push(peer)
    known.set(peer, hello.addresses)
  })
}

let dialled: Connection | undefined
let welcomed: string[] = [] // peers that the dialled one names
let refused = ''
if (settings.dial !== undefined) {
  dialled = await node.dial(multiaddr(settings.dial))
  if (network !== undefined) {
    try {
      const { addresses, peers } = await greet(await FrameStream.open(dialled, 'peers'), network, listens())
      known.set(dialled.remotePeer.toString(), addresses)
      for (const one of peers) known.set(one.peer, one.addresses)
      welcomed = peers.map(({ peer }) => peer)
    } catch (error) {
      refused = String(error)
    }
  }
}

const other = (): Connection => dialled ?? node.getConnections()[0]
const contentKey = Buffer.from('/folkmoot/a-key')
const OPS: Record<string, (command: Command) => Promise<object> | object> = {
  state: () => ({}),
  async publish ({ data }) {
    await pubsub.publish(settings.topic, Buffer.from(data, 'hex'))
    return {}
  },
  async prune () {
    for (const peer of pubsub.getMeshPeers(settings.topic)) {
      pubsub.mesh.get(settings.topic)?.delete(peer)
      await pubsub.sendPrune(peer, settings.topic)
    }
    return {}
  },
  identify: async () => ({ identified: await identified }),
  async ping ({ peer }) {
    return { ms: await node.services.ping.ping(peerIdFromString(peer), { signal: AbortSignal.timeout(PATIENCE_MS) }) }
  },
  async find ({ peer }) {
    const found: string[] = []
    for await (const event of node.services.dht.findPeer(peerIdFromString(peer), { useCache: false })) {
      if (event.name === 'FINAL_PEER') found.push(...event.peer.multiaddrs.map(String))
    }
    return { found }
  },
  async put () {
    const events: string[] = []
    try {
      for await (const event of node.services.dht.put(contentKey, Buffer.from('a value'))) {
        const kind = 'messageName' in event ? event.messageName : ''
        events.push(`${event.name} ${event.name === 'QUERY_ERROR' ? event.error.message : kind}`)
      }
    } catch (error) {
      events.push(String(error))
    }
    return { events }
  },
  async query ({ question }) {
    return { answer: await query(other(), question, anything) }
  },
  async ask ({ prompt }) {
    const folder = settings.folder ?? ''
    const genesis = loadGenesis(join(folder, 'genesis.cbor'))
    const payer = { key: Key.load(join(folder, 'account.key')), nonces: new Nonces(join(folder, 'nonces')) }
    const { remotePeer } = other()
    const close = async (): Promise<void> => {}
    const key = remotePeer.publicKey?.raw ?? Buffer.of()
    const peer = { connection: other(), key, id: remotePeer.toString(), close }
    const question = { model: genesis.models[0].model, prompt, params: PARAMS, maxTokens: 12 }
    for await (const event of ask(peer, genesis, question, payer)) {
      if (event.event === 'done') return { text: event.text, receipt: event.receipt }
    }
    throw new Error('the answer ended without a receipt')
  }
}

say({ ready: listens()[0], peer: node.peerId.toString() })
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command
  let found: object
  try {
    found = await OPS[command.op](command)
  } catch (error) {
    found = { error: String(error) }
  }
  say({
    got, meshed: pubsub.getMeshPeers(settings.topic), connected: node.getPeers().map(String), greeted, welcomed,
    refused, ...found
  })
}
process.exit(0)
