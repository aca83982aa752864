// A js-libp2p peer that dials, and is dialled, through a relay of ours (tests/gossip/relays/test_relays_js.py).
// First argument: JSON; with `relay`, an address, it greets that peer for `network` and takes a place there.
// It echoes on /folkmoot/echo/1. On stdin: JSON lines {op: 'echo', address, data}.
import { createInterface } from 'node:readline'

// Node 20 lacks it and libp2p needs it
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((one, other) => { resolve = one; reject = other })
  return { promise, resolve, reject }
}
const { createLibp2p } = await import('libp2p')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { tcp } = await import('@libp2p/tcp')
const { identify } = await import('@libp2p/identify')
const { circuitRelayTransport } = await import('@libp2p/circuit-relay-v2')
const { multiaddr } = await import('@multiformats/multiaddr')

const ECHO = '/folkmoot/echo/1'
const settings = JSON.parse(process.argv[2])
const say = words => process.stdout.write(JSON.stringify(words) + '\n')

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp(), circuitRelayTransport()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify() }
})
await node.handle(ECHO, async stream => {
  for await (const part of stream) stream.send(part)
}, { runOnLimitedConnection: true })

async function echo (address, data) {
  const connection = await node.dial(multiaddr(address))
  const stream = await connection.newStream(ECHO, { runOnLimitedConnection: true })
  const frame = Buffer.from(data, 'hex')
  stream.send(Buffer.concat([Buffer.from([frame.length]), frame])) // our frames: a varint length, here below 128
  let came = Buffer.alloc(0)
  for await (const part of stream) {
    came = Buffer.concat([came, Buffer.from(part.subarray())])
    if (came.length > frame.length) break
  }
  const { seconds, bytes } = connection.limits ?? {}
  const echoed = came.subarray(1).toString('hex')
  return { echoed, peer: connection.remotePeer.toString(), seconds, bytes: Number(bytes) }
}

// A Hello of ours: a CBOR array of version, kind, network, eight random bytes, and no addresses.
function hello () {
  const text = words => Buffer.concat([Buffer.from([0x60 + words.length]), Buffer.from(words)])
  const start = Buffer.from([0x48, ...Array(8).fill(7)])
  const body = Buffer.concat([
    Buffer.from([0x85, settings.version]), text('hello'), text(settings.network), start, Buffer.from([0x80])
  ])
  return Buffer.concat([Buffer.from([body.length]), body])
}

if (settings.relay) {
  const connection = await node.dial(multiaddr(settings.relay))
  const stream = await connection.newStream('/folkmoot/peers/1')
  stream.send(hello())
  for await (const part of stream) if (part.byteLength > 0) break // the Welcome
  await node.components.transportManager.listen([multiaddr(settings.relay + '/p2p-circuit')])
}

// the way through the relay is there once it has granted a place
const way = () => node.getMultiaddrs().map(String).find(one => one.includes('/p2p-circuit/')) ?? ''
say({ ready: way(), peer: node.peerId.toString() })
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  say(command.op === 'echo' ? await echo(command.address, command.data) : { way: way() })
}
process.exit(0)
