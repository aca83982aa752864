// Draws the executors of an inference again, from nothing but bytes that hash to headers.
// Law: pure, whole numbers only. What p2p/base/weighted_draw.py and p2p/ledger/state/proofs.py do, done again here;
// tests/explorer/test_draw_js.py compares them.
import { decode, elements } from './cbor.js'
import { compare, digest, fromHex, same, sha256, toHex, u32, u64, utf8 } from './hash.js'

export const MAX_CANDIDATES = 8
const NO_SESSION = new Uint8Array(32)

/** The root under which the state tree has `value` (null: nothing) at `key`; null where the proof is none of that. */
export function impliedRoot (key, value, [siblings, other]) {
  const path = sha256(key)
  if (siblings.length > 256) return null
  let current
  if (value !== null) {
    if (other !== null) return null
    current = sha256(Uint8Array.of(0x10), path, sha256(value))
  } else if (other !== null) {
    const [theirs, hash] = other
    if (same(theirs, path) || !samePrefix(theirs, path, siblings.length)) return null
    current = sha256(Uint8Array.of(0x10), theirs, hash)
  } else {
    current = sha256(Uint8Array.of(0x12))
  }
  for (let level = siblings.length - 1; level >= 0; level--) {
    const pair = bit(path, level) ? [siblings[level], current] : [current, siblings[level]]
    current = sha256(Uint8Array.of(0x11), ...pair)
  }
  return current
}

const bit = (path, at) => path[at >> 3] >> 7 - (at & 7) & 1
function samePrefix (a, b, bits) {
  for (let at = 0; at < bits; at++) if (bit(a, at) !== bit(b, at)) return false
  return true
}

export const appHash = root => digest('app', root)

/** What a ServingProof says of `height`: {nodes: [[node, weight]], root}. Throws where it says nothing of it. */
export function openServing (hex, model, height) {
  const [, top, versions, versionsProof, nodes, nodesProof] = decode(fromHex(hex))
  const since = Math.max(...decode(versions)[0].filter(one => one <= height))
  if (!Number.isFinite(since) || height > top) throw new Error(`the proof says nothing of height ${height}`)
  const root = impliedRoot(joined(utf8('serving/'), utf8(model)), versions, versionsProof)
  const other = impliedRoot(joined(utf8('serve/'), utf8(model), utf8('/'), u64(since)), nodes, nodesProof)
  if (root === null || other === null || !same(root, other)) throw new Error('its two values are not of one state')
  return { nodes: decode(nodes)[0].map(([node, weight]) => [node, BigInt(weight)]), root, height: top }
}

export function joined (...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Picks in order: {node, weight, point, total}. Never the agent. */
export function drawExecutors (beacon, drawId, serving, agent, count = MAX_CANDIDATES) {
  const left = serving.filter(([node, weight]) => weight > 0n && !same(node, agent)).sort(([a], [b]) => compare(a, b))
  const picks = []
  while (left.length > 0 && picks.length < count) {
    const total = left.reduce((sum, [, weight]) => sum + weight, 0n)
    const point = BigInt('0x' + toHex(digest('draw-executors', beacon, drawId, u32(picks.length)))) % total
    let rest = point
    const at = left.findIndex(([, weight]) => {
      if (rest < weight) return true
      rest -= weight
      return false
    })
    const [[node, weight]] = left.splice(at, 1)
    picks.push({ node, weight, point, total })
  }
  return picks
}

/** The record of an inference, as the ledger keeps it: what a draw needs of it. */
export function readRecord (hex) {
  const raw = fromHex(hex)
  const [signed, status, agent, beacon, candidates] = decode(raw)
  const request = signed[0]
  const [start, end] = elements(raw)[0]
  const id = digest('inference', raw.subarray(start, end))
  const account = request[2]
  const session = request[14] ?? NO_SESSION
  return {
    raw, id, status, agent, beacon, candidates, account, model: request[4], drawHeight: request[12],
    session, sessionHeight: request[15] ?? 0,
    drawId: same(session, NO_SESSION) ? id : digest('session', account, session)
  }
}

/** What a LightBlock says: {height, timeMs, appHash, beacon, blockId, signatures, matches}. */
export function readHeader (hex) {
  const raw = fromHex(hex)
  const [header, certificate] = decode(raw)
  const [start, end] = elements(raw)[0]
  const blockId = digest('block', raw.subarray(start, end))
  return {
    height: header[2], timeMs: header[4], appHash: header[8], beacon: header[10], blockId,
    signatures: certificate[3].length, matches: certificate[0] === header[2] && same(certificate[2], blockId)
  }
}

/**
 * Everything at once. story: of /explorer/api/draws/ID. headerOf: height -> Promise of a LightBlock in hexadecimal.
 * Returns {steps: [{name, ok, text}], picks, candidates}; ok is null where something is missing, not wrong.
 */
export async function check (story, headerOf) {
  const steps = []
  const say = (name, ok, text) => steps.push({ name, ok, text })
  const record = readRecord(story.record)
  const isIt = toHex(record.id) === story.id
  say('Request', isIt, isIt ? 'The id is the hash of the signed request.' : 'The id is not the hash of this request.')
  if (story.left) {
    say('Record', null, 'It has left the state. The command below proves it by its epoch’s sums.')
  } else {
    const root = impliedRoot(joined(utf8('inf/'), record.id), record.raw, decode(fromHex(story.proof)))
    await stands(say, 'Record', root, story.height, headerOf, 'the record')
  }
  const inSession = !same(record.session, NO_SESSION)
  const drawnAt = inSession ? record.sessionHeight : record.drawHeight
  const beacon = await headerAt(headerOf, drawnAt)
  if (beacon === null) {
    say('Beacon', null, `Header ${drawnAt} is not here.`)
    return { steps, picks: [], candidates: record.candidates, record }
  }
  const fits = beacon.matches && (inSession || same(beacon.beacon, record.beacon))
  say('Beacon', fits, fits
    ? `Header ${drawnAt} is block ${toHex(beacon.blockId).slice(0, 12)}…, with ${beacon.signatures} signatures; it holds the beacon.`
    : `Header ${drawnAt} holds another beacon.`)
  const lots = await servingSet(say, story, record, inSession, headerOf)
  if (lots === null) return { steps, picks: [], candidates: record.candidates, record }
  const picks = drawExecutors(beacon.beacon, record.drawId, lots, record.agent)
  const equal = picks.length === record.candidates.length &&
    picks.every((pick, at) => same(pick.node, record.candidates[at]))
  say('Draw', equal, equal
    ? `Drawn again here: the same ${picks.length} executors in the same order.`
    : 'Drawn again here: other executors than the chain names.')
  return { steps, picks, candidates: record.candidates, record }
}

async function servingSet (say, story, record, inSession, headerOf) {
  if (!story.serving || (inSession && !story.session_serving)) {
    say('Serving set', null, `Who served then is not known any more: ${story.why || 'no peer has the proof'}.`)
    return null
  }
  try {
    const now = openServing(story.serving, record.model, record.drawHeight)
    const good = await stands(say, 'Serving set', now.root, now.height, headerOf, `a set of ${now.nodes.length} nodes`)
    if (good === false) return null
    if (!inSession) return now.nodes
    const then = openServing(story.session_serving, record.model, record.sessionHeight)
    const still = new Set(now.nodes.map(([node]) => toHex(node)))
    const sure = await stands(say, 'Session’s set', then.root, then.height, headerOf, 'the set of the session’s height')
    return sure === false ? null : then.nodes.filter(([node]) => still.has(toHex(node)))
  } catch (error) {
    say('Serving set', false, `The proof does not hold: ${error.message}.`)
    return null
  }
}

async function stands (say, name, root, height, headerOf, what) {
  const header = root === null ? null : await headerAt(headerOf, height + 1)
  if (root === null) {
    say(name, false, `The proof is not about ${what}.`)
    return false
  }
  if (header === null) {
    say(name, null, `Header ${height + 1}, which stands for it, is not decided yet; look again in a moment.`)
    return null
  }
  const good = header.matches && same(appHash(root), header.appHash)
  say(name, good, good
    ? `${what[0].toUpperCase()}${what.slice(1)} hashes up to the state that header ${height + 1} names.`
    : `Header ${height + 1} names another state.`)
  return good
}

async function headerAt (headerOf, height) {
  const hex = await headerOf(height)
  if (hex === null) return null
  const found = readHeader(hex)
  return found.height === height ? found : null
}
