// What clients, executors and agents sign. Law: fields by position, as in p2p/base/types.py; what is signed is the
// encoding of the record, under its kind and network (keys.ts).
import { digest } from './hash.ts'
import {
  bytes32, bytes64, list, message, nullable, pack, text, u32, u64, whole, type Shape, type Value
} from './shape.ts'

/** Sampling parameters, in thousandths. */
export const Params = message({
  temperatureMilli: whole(0, 2000), topK: whole(0, 1 << 20), minPMilli: whole(0, 1000), topPMilli: whole(0, 1000),
  presenceMilli: whole(-2000, 2000), frequencyMilli: whole(-2000, 2000), repetitionMilli: whole(100, 10_000),
  minTokens: u32, seed: nullable(bytes32)
})

/** What a client asks for, and what it agrees to pay. */
export const Request = message({
  version: u32,
  network: text(96), // its id
  account: bytes32, // pays
  nonce: u64,
  model: text(96),
  bodyHash: bytes32, // of the encoded body
  params: Params,
  promptTokensMax: u32, // chat template included; the escrow covers it, what was used is charged
  maxTokens: u32, // of output
  maxPriceMicro: u64, // of a token
  deadlineHeight: u64, // the escrow returns when nobody has finished by then
  signer: bytes32, // the account's key, or a hot key of it
  drawHeight: u64, // whose beacon draws the executors
  agent: bytes32, // the only one that may start the request
  session: bytes32, // requests of one session are answered by the same executors; zeros: none
  sessionHeight: u64
})
export const SignedRequest = message({ request: Request, signature: bytes64 })

/** The id of an inference: it changes with any byte of the request or of its signature. */
export const inferenceId = (signed: Value<typeof SignedRequest>): Uint8Array =>
  digest('inference', pack(SignedRequest, signed))

export const STOPPED = 2 // finish reason: the agent asked for the end because its client left
export const FINISH_REASONS = ['stop', 'length', 'stopped', 'stop_string']

/** The executor's claim about its answer. */
export const FinishRecord = message({
  inferenceId: bytes32,
  executor: bytes32,
  artifactRoot: bytes32, // binds model, parameters, body, tokens and candidates
  outputHash: bytes32, // of the token ids
  promptTokens: u32,
  outputTokens: u32,
  finishReason: whole(0, 3),
  stack: text(96), // the family of software and hardware that made it
  textHash: bytes32,
  takenOver: u32 // tokens at the beginning that other executors streamed
})
export const SignedFinish = message({ record: FinishRecord, signature: bytes64 })

/** An executor's statement of what it has streamed so far. Each frame of tokens carries its signature. */
export const Streamed = message({
  inferenceId: bytes32,
  executor: bytes32,
  first: u32, // its first token
  tokens: u32, // one past its last token so far
  chain: bytes32 // over all tokens up to there, those of executors before it included
})
export const SignedStreamed = message({ record: Streamed, signature: bytes64 })
export const Handovers: Shape<Array<Value<typeof SignedStreamed>>> = list(SignedStreamed, 7)

/** An executor's statement that it could not take the request. */
export const BusyRecord = message({ inferenceId: bytes32, executor: bytes32, reason: text(300) })
export const SignedBusy = message({ record: BusyRecord, signature: bytes64 })
