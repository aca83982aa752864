// The receipt: what a client is left with after an answer. Law: every claim is checked, without a model and without
// believing the agent; what does not hold is a sentence.
import { isHandedOver, outputHash, parseArtifact, type Artifact } from './artifact.ts'
import { drawExecutors } from './draw.ts'
import { ProtocolError } from './errors.ts'
import type { Accepted, Done, Read } from './frames.ts'
import { digest, same, toHex, u64be } from './hash.ts'
import { isSigned } from './keys.ts'
import { FINISH_REASONS, FinishRecord, inferenceId, Params, STOPPED, type SignedRequest } from './records.ts'
import { pack, type Value } from './shape.ts'
import type { Member } from './validators.ts'

/** What is known of a draw, and how well. */
export interface Draw {
  height: number
  beacon: Uint8Array // of that height, proved
  serving: Member[] | undefined // whom it is made from; undefined where the peer shows no proof, or a false one
  known: 'proved' | "the peer's word" | 'not checked'
}

/** One answer, as a client has it in the end. */
export interface Answered {
  agent: Uint8Array // node key of the peer that was asked
  signed: Value<typeof SignedRequest>
  accepted: Read<typeof Accepted>
  done: Read<typeof Done>
  tokens: number[]
  text: string
}

/** What is wrong with a receipt; an empty list when every claim holds. */
export function problemsOf (answered: Answered, draw: Draw): string[] {
  const { agent, signed, accepted, done, tokens, text } = answered
  const { record, signature } = done.finish
  const id = inferenceId(signed)
  const drawn = draw.serving === undefined ? [] : drawExecutors(accepted.beacon, id, draw.serving, accepted.agent)
  const facts: Array<[boolean, string]> = [
    [same(accepted.inferenceId, id) && same(record.inferenceId, id),
      'the inference id is not the hash of the signed request'],
    [same(accepted.agent, agent), 'the agent named is not the peer that was asked'],
    [accepted.candidates.some(node => same(node, record.executor)), 'the executor was not drawn'],
    [isSigned(record.executor, 'finish', signed.request.network, pack(FinishRecord, record), signature),
      'the finish record is not signed by the executor'],
    [draw.serving !== undefined, "who was serving at the draw's height is not shown"],
    [draw.serving === undefined || sameKeys(accepted.candidates, drawn),
      'the draw is not what beacon, inference id and serving set give'],
    [BigInt(draw.height) === signed.request.drawHeight && same(draw.beacon, accepted.beacon),
      'the beacon is not that of the height that was signed'],
    [same(record.outputHash, outputHash(tokens)) && record.outputTokens === tokens.length,
      'the finish record claims other tokens than were streamed'],
    [same(record.textHash, digest('text', text)), 'the text that was shown is not the one signed for']
  ]
  const problems = facts.filter(([holds]) => !holds).map(([, sentence]) => sentence)
  try {
    return [...problems, ...artifactProblems(parseArtifact(done.artifact), id, answered)]
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    return [...problems, `the artifact cannot be read: ${error.message}`]
  }
}

/** What a client can check of an artifact without a model and without the tokens that end an answer. */
function artifactProblems (artifact: Artifact, id: Uint8Array, { signed, accepted, done }: Answered): string[] {
  const { header, takenOver, tokens, root } = artifact
  const { request } = signed
  const { record } = done.finish
  const seed = digest('folkmoot/tape/1', accepted.beacon, id, u64be(request.nonce))
  const facts: Array<[boolean, string]> = [
    [same(root, record.artifactRoot), 'the artifact is not the one whose root was signed'],
    [same(outputHash(tokens), record.outputHash), 'the artifact holds other tokens than were streamed'],
    [same(header.inferenceId, id), 'the artifact is about another inference'],
    [header.model === request.model && same(header.bodyHash, request.bodyHash) &&
      same(pack(Params, header.params), pack(Params, request.params)),
      'the artifact is about another model, body or other parameters than were asked for'],
    [header.length === record.outputTokens && header.promptTokens === record.promptTokens &&
      header.finishReason === record.finishReason, 'artifact and finish record disagree'],
    [header.length > 0 && header.length <= request.maxTokens, 'the answer is empty or longer than asked for'],
    [takenOver === record.takenOver && takenOver < header.length,
      'two counts of tokens that were taken over are claimed'],
    [isHandedOver(header.taken, tokens.slice(0, takenOver), request.network, id, accepted.candidates, record.executor),
      'what was taken over is not signed by whoever streamed it'],
    [record.finishReason !== STOPPED, 'the answer was cut short as if you had left'],
    [same(header.seed, seed), 'the seed is not the one the draw gives']
  ]
  return facts.filter(([holds]) => !holds).map(([, sentence]) => sentence)
}

const sameKeys = (one: Uint8Array[], other: Uint8Array[]): boolean =>
  one.length === other.length && one.every((key, at) => same(key, other[at]))

/** For JSON, with the names that `folkmoot ask --json` has. passedOver: executors of whom only the agent says that they
 * did not answer. peer: the id of the peer that was asked. */
export function plainReceipt (
  { signed, accepted, done }: Answered, draw: Draw, problems: string[], passedOver: Uint8Array[], peer: string
): Record<string, unknown> {
  const { record, signature } = done.finish
  return {
    inference_id: toHex(record.inferenceId),
    executor: toHex(record.executor),
    agent: toHex(accepted.agent),
    peer,
    artifact_root: toHex(record.artifactRoot),
    output_hash: toHex(record.outputHash),
    prompt_tokens: record.promptTokens,
    output_tokens: record.outputTokens,
    finish_reason: FINISH_REASONS[record.finishReason],
    draw_height: Number(signed.request.drawHeight),
    signature: toHex(signature),
    artifact_bytes: done.artifact.length,
    draw: draw.known,
    passed_over: passedOver.map(toHex),
    continues: [], // this client asks again instead of going on elsewhere
    cached: Math.min(done.cached, record.promptTokens),
    checked: problems.length === 0,
    problems
  }
}
