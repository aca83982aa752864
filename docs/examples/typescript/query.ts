// Questions to a peer about its chain. Law: one stream for one question; nothing that is answered is believed here.
import type { Connection } from '@libp2p/interface'
import { decode, encode } from './codec.ts'
import { Answer, Query } from './frames.ts'
import { VERSION } from './genesis.ts'
import type { Shape } from './shape.ts'
import { FRAME_MS, FrameStream } from './stream.ts'

/** The answer to an operation such as { op: 'tip', ... }. Throws the peer's error, or ProtocolError for an answer of
 * another shape. */
export async function query<T> (
  peer: Connection, question: { op: string } & Record<string, unknown>, shape: Shape<T>
): Promise<T> {
  const stream = await FrameStream.open(peer, 'query')
  try {
    await stream.send(Query, { version: VERSION, body: encode(question) })
    const { body } = await stream.receive(FRAME_MS, Answer)
    return shape.read(decode(body), question.op)
  } finally {
    await stream.close()
  }
}
