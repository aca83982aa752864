// A connection to one peer. Law: it counts once both sides have greeted with the same network; the peer's key is proved
// by the connection itself (Noise), so what it answers needs no signature of its own.
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import type { Connection } from '@libp2p/interface'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { ProtocolError } from './errors.ts'
import { greet } from './greeting.ts'
import { FrameStream, OPEN_MS, withReason } from './stream.ts'

const DIAL_MS = 30_000

export interface Peer {
  connection: Connection
  key: Uint8Array // its node key
  id: string // its peer id
  close: () => Promise<void>
}

/** Dial a peer (a multiaddr with /p2p/ID), under a key of one's own that nobody knows again, and greet it. */
export async function connect (address: string, network: string): Promise<Peer> {
  if (!/\/p2p\/\w+$/.test(address)) {
    throw new ProtocolError('config', 'peer', `${address} is not a multiaddr such as /ip4/192.0.2.1/tcp/7470/p2p/ID`)
  }
  const node = await createLibp2p({
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { // the library's own limits are for machines that have nothing else to do
      dialTimeout: DIAL_MS, addressDialTimeout: DIAL_MS, outboundStreamProtocolNegotiationTimeout: OPEN_MS
    },
    connectionMonitor: { enabled: false }, // every wait here has its own limit, and a peer that is late is not dead
    services: { identify: identify(), ping: ping() }
  })
  const close = async (): Promise<void> => { await node.stop() }
  try {
    const connection = await withReason(node.dial(multiaddr(address), { signal: AbortSignal.timeout(DIAL_MS) }))
    const key = connection.remotePeer.publicKey
    if (key?.type !== 'Ed25519') throw new ProtocolError('config', 'peer', `${address} has no Ed25519 key`)
    await greet(await FrameStream.open(connection, 'peers'), network)
    return { connection, key: key.raw, id: connection.remotePeer.toString(), close }
  } catch (error) {
    await close()
    throw error
  }
}
