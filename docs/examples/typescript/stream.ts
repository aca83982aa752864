// One stream to a peer: frames, each behind its length as an unsigned varint.
// Law: every read is bounded in bytes and time.
import type { Connection, Stream } from '@libp2p/interface'
import { lpStream, type LengthPrefixedStream } from '@libp2p/utils'
import { broken, ProtocolError, reported } from './errors.ts'
import { Failure, packFrame, parseFrame, type Frame, type Read } from './frames.ts'

const MOST_BYTES = 1 << 22 // of a frame
export const OPEN_MS = 30_000
export const FRAME_MS = 30_000

export const protocol = (name: string): string => `/folkmoot/${name}/1`

export class FrameStream {
  readonly #raw: Stream
  readonly #frames: LengthPrefixedStream

  constructor (raw: Stream) {
    this.#raw = raw
    this.#frames = lpStream(raw, { maxDataLength: MOST_BYTES, maxBufferSize: 2 * MOST_BYTES })
  }

  static async open (peer: Connection, name: string): Promise<FrameStream> {
    return new FrameStream(await withReason(peer.newStream(protocol(name), { signal: AbortSignal.timeout(OPEN_MS) })))
  }

  async write (raw: Uint8Array): Promise<void> {
    await withReason(this.#frames.write(raw, { signal: AbortSignal.timeout(FRAME_MS) }))
  }

  async read (timeoutMs = FRAME_MS): Promise<Uint8Array> {
    return (await withReason(this.#frames.read({ signal: AbortSignal.timeout(timeoutMs) }))).subarray()
  }

  async send<T> (kind: Frame<string, T>, value: T): Promise<void> {
    await this.write(packFrame(kind, value))
  }

  /** The next frame. Throws the peer's own error where that is what came. */
  async receive<K extends readonly Frame[]> (timeoutMs: number, ...kinds: K): Promise<Read<K[number]>> {
    const raw = await this.read(timeoutMs)
    const found: { tag: string } = parseFrame<readonly Frame[]>(raw, ...kinds, Failure)
    if (found.tag !== Failure.tag) return found as Read<K[number]>
    const { code, field, message, retryAfter } = found as Read<typeof Failure>
    throw reported(code, field, message, retryAfter)
  }

  async close (): Promise<void> {
    await this.#raw.close({ signal: AbortSignal.timeout(FRAME_MS) }).catch(() => { this.reset() })
  }

  /** Tells the other side to stop. */
  reset (): void {
    this.#raw.abort(new Error('the stream is not needed any more'))
  }
}

/** What the library throws becomes an error of ours. */
export async function withReason<T> (work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof ProtocolError) throw error
    const [name, message] = error instanceof Error ? [error.name, error.message] : ['', String(error)]
    if (name.startsWith('InvalidDataLength')) throw broken('frame', `a frame above ${MOST_BYTES} bytes`)
    throw new ProtocolError('unavailable', 'stream', `the peer does not answer: ${name} ${message}`)
  }
}
