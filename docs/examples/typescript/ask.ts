// The command: node ask.ts --peer MULTIADDR --dir FOLDER "prompt"
// Law: what it may cost is shown before anything is signed; the receipt is checked before it is shown. The lines of
// --json and the exit status are those of `folkmoot ask` (docs/use-from-code.md).
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ask, type Event } from './client.ts'
import { connect } from './connection.ts'
import { EXIT_STATUS, ProtocolError } from './errors.ts'
import { loadGenesis, type Genesis } from './genesis.ts'
import { toHex } from './hash.ts'
import { Key } from './keys.ts'
import { Nonces } from './nonces.ts'
import { PARAMS, type Question } from './request.ts'

const USAGE = 'node ask.ts --peer MULTIADDR --dir FOLDER [--model NAME] [--max-tokens N] [--max-price MICRO] [--json]' +
  ' "prompt"'
const UNCHECKED = 3 // exit status where the receipt does not hold

interface Options { peer: string, dir: string, json: boolean, question: (genesis: Genesis) => Question }

function options (): Options {
  try {
    const { values, positionals: [prompt] } = parseArgs({
      allowPositionals: true,
      options: {
        peer: { type: 'string' }, dir: { type: 'string' }, model: { type: 'string' },
        'max-tokens': { type: 'string', default: '128' }, 'max-price': { type: 'string' },
        json: { type: 'boolean', default: false }
      }
    })
    const { peer, dir, model, json, 'max-tokens': maxTokens, 'max-price': maxPrice } = values
    const numbers = [maxTokens, maxPrice ?? '1'].every(one => /^[1-9]\d{0,15}$/.test(one))
    if (peer === undefined || dir === undefined || prompt === undefined) throw new Error('something is missing')
    if (!numbers) throw new Error('a bound is a whole number from 1 on')
    const question = (genesis: Genesis): Question => ({
      model: model ?? genesis.models[0].model,
      prompt,
      params: PARAMS,
      maxTokens: Number(maxTokens),
      maxPriceMicro: maxPrice === undefined ? undefined : BigInt(maxPrice)
    })
    return { peer, dir, json, question }
  } catch (error) {
    throw new ProtocolError('config', 'arguments', `${(error as Error).message}; usage: ${USAGE}`)
  }
}

/** A model's text, and a peer's sentences, must not steer a terminal. */
const clean = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]/gu, one => '\n\t'.includes(one) ? one : '\uFFFD')

/** An event as the lines of `folkmoot ask --json`. */
function lines (event: Event): object[] {
  switch (event.event) {
    case 'terms': {
      const { priceMicro, maxPriceMicro, tokens, balanceMicro } = event.terms
      return [{
        event: 'terms', price_micro: Number(priceMicro), max_price_micro: Number(maxPriceMicro), tokens,
        balance_micro: Number(balanceMicro), most_micro: Number(maxPriceMicro) * tokens
      }]
    }
    case 'waiting': return [{ event: 'waiting', wait_s: event.waitMs / 1000, reason: event.reason, left: event.left }]
    case 'accepted': {
      const { inferenceId, agent, beacon, candidates } = event.accepted
      return [{
        event: 'accepted', inference_id: toHex(inferenceId), agent: toHex(agent), draw_height: event.drawHeight,
        beacon: toHex(beacon), candidates: candidates.map(toHex)
      }]
    }
    case 'tokens': return event.tokens.map((token, at) => ({ event: 'token', text: at === 0 ? event.text : '', token }))
    case 'done': return [event]
    default: return [{ ...event, node: toHex(event.node) }]
  }
}

/** The same for people: the answer on standard output, everything else on standard error. */
function tell (event: Event): void {
  if (event.event === 'tokens') process.stdout.write(clean(event.text))
  else if (event.event === 'terms') {
    const { maxPriceMicro, tokens } = event.terms
    console.error(`at most ${maxPriceMicro} micro-credits a token, ${maxPriceMicro * BigInt(tokens)} for all of it`)
  } else if (event.event === 'done') {
    console.error('\n\nreceipt')
    for (const [name, value] of Object.entries(event.receipt)) {
      console.error(`  ${name.padEnd(16)} ${clean(String(value))}`)
    }
  } else if (event.event !== 'accepted') {
    console.error(clean(lines(event).map(line => JSON.stringify(line)).join('\n')))
  }
}

async function main ({ peer: address, dir, json, question }: Options): Promise<number> {
  const genesis = loadGenesis(join(dir, 'genesis.cbor'))
  const payer = { key: Key.load(join(dir, 'account.key')), nonces: new Nonces(join(dir, 'nonces')) }
  const peer = await connect(address, genesis.network)
  let status = UNCHECKED
  try {
    for await (const event of ask(peer, genesis, question(genesis), payer)) {
      const print = event.event === 'terms' ? console.error : console.log
      if (json) lines(event).forEach(line => { print(JSON.stringify(line)) })
      else tell(event)
      if (event.event === 'done' && event.receipt.checked === true) status = 0
    }
  } finally {
    await peer.close()
  }
  return status
}

try {
  process.exitCode = await main(options())
} catch (error) {
  if (!(error instanceof ProtocolError)) throw error
  const { kind, code, field, message } = error
  process.exitCode = EXIT_STATUS[kind]
  const isJson = process.argv.includes('--json')
  console.error(isJson ? JSON.stringify({ error: { code, field, message } }) : `error: ${field}: ${clean(message)}`)
}
