// What is asked: the body of a request, whose hash the request carries. Law: fields by position, as in
// p2p/base/body.py. This client asks one question of one user; a conversation has more messages.
import { ProtocolError } from './errors.ts'
import { digest } from './hash.ts'
import {
  anything, bytes, flag, list, message, nullable, pack, tagged, text, type Value
} from './shape.ts'

const MOST = 1 << 20 // bytes of a body
const Message = message({
  role: text(9), content: text(MOST), calls: list(anything, 128), callId: text(96), name: text(96)
})
const Chat = tagged('chat', {
  messages: list(Message, 4096, 1), tools: list(anything, 128), templateArgs: text(4096), continues: flag
})
export const Body = message({
  prompt: Chat,
  stop: list(text(256), 16),
  bias: list(anything, 1024), // pairs of a token's id and thousandths of a nat
  grammar: nullable(anything),
  begun: bytes(0, MOST / 2) // output tokens of an earlier request that this one continues
})

export function oneMessage (content: string): Value<typeof Body> {
  if (content.trim() === '') throw new ProtocolError('invalid_request', 'prompt', 'nothing is asked: write a question')
  const asked = { role: 'user', content, calls: [], callId: '', name: '' }
  const prompt = { messages: [asked], tools: [], templateArgs: '', continues: false }
  return { prompt, stop: [], bias: [], grammar: null, begun: new Uint8Array() }
}

export const packBody = (body: Value<typeof Body>): Uint8Array => pack(Body, body)
export const bodyHash = (raw: Uint8Array): Uint8Array => digest('body', raw)
