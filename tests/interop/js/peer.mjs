// A js-libp2p peer on one gossipsub topic, which takes JSON lines on stdin (tests/gossip/test_interop.py).
// First argument: JSON with `topic` and, where it dials, `dial`.
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'

// Node 20 lacks it and libp2p needs it
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((one, other) => { resolve = one; reject = other })
  return { promise, resolve, reject }
}
const { createLibp2p } = await import('libp2p')
const { gossipsub } = await import('@libp2p/gossipsub')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { tcp } = await import('@libp2p/tcp')
const { identify } = await import('@libp2p/identify')
const { multiaddr } = await import('@multiformats/multiaddr')

const settings = JSON.parse(process.argv[2])
const say = words => process.stdout.write(JSON.stringify(words) + '\n')

// The first 20 bytes of SHA-256 over the topic's length (8 bytes, little endian), the topic and the data.
function messageId (message) {
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
  services: {
    identify: identify(),
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
const pubsub = node.services.pubsub
const got = []
pubsub.addEventListener('message', event => got.push(Buffer.from(event.detail.data).toString('hex')))
pubsub.subscribe(settings.topic)
if (settings.dial) await node.dial(multiaddr(settings.dial))
say({ ready: node.getMultiaddrs()[0].toString(), peer: node.peerId.toString() })
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  if (command.op === 'publish') {
    await pubsub.publish(settings.topic, Buffer.from(command.data, 'hex'))
  } else if (command.op === 'prune') {
    for (const peer of [...pubsub.mesh.get(settings.topic)]) {
      pubsub.mesh.get(settings.topic).delete(peer)
      await pubsub.sendPrune(peer, settings.topic)
    }
  }
  say({ got, meshed: pubsub.getMeshPeers(settings.topic).map(String) })
}
process.exit(0)
