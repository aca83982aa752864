// Answers questions about the pages' pure modules, a line of JSON each: for tests/explorer/test_draw_js.py.
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const folder = pathToFileURL(process.argv[2] + '/')
const load = name => import(new URL(name, folder))
const { decode } = await load('cbor.js')
const { digest, fromHex, merkleRoot, sha256, toHex } = await load('hash.js')
const { check, drawExecutors, impliedRoot, openServing } = await load('draw.js')
const { readProof } = await load('proof.js')

const hexed = value => JSON.parse(JSON.stringify(value, (_, one) =>
  one instanceof Uint8Array ? toHex(one) : typeof one === 'bigint' ? String(one)
    : one instanceof Map ? Object.fromEntries(one) : one))
const OPS = {
  sha256: ({ data }) => toHex(sha256(fromHex(data))),
  digest: ({ parts }) => toHex(digest(...parts.map(fromHex))),
  merkle: ({ leaves }) => toHex(merkleRoot(leaves.map(fromHex))),
  cbor: ({ data }) => decode(fromHex(data)),
  draw: ({ beacon, id, serving, agent }) => drawExecutors(fromHex(beacon), fromHex(id),
    serving.map(([node, weight]) => [fromHex(node), BigInt(weight)]), fromHex(agent)).map(pick => toHex(pick.node)),
  root: ({ key, value, proof }) => impliedRoot(fromHex(key), value === null ? null : fromHex(value), decode(fromHex(proof))),
  serving: ({ proof, model, height }) => openServing(proof, model, height),
  check: async ({ story, headers }) => {
    const { steps, picks } = await check(story, async height => headers[height] ?? null)
    return { steps, picks: picks.map(pick => toHex(pick.node)) }
  },
  proof: ({ data }) => readProof(fromHex(data))
}
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  let found
  try {
    found = { value: hexed(await OPS[asked.op](asked)) }
  } catch (error) {
    found = { error: String(error.message) }
  }
  console.log(JSON.stringify(found))
}
