// One inference's whole story.
import { split } from './charts.js'
import {
  SPRINT, accountId, badge, blockLink, facts, h, ident, money, nodeId, nothing, panel, plural, span, status, table, time, whole
} from './dom.js'
import { drawPanel } from './drawn.js'
import { tokensPanel } from './tokens.js'

const REASONS = { length: 'cut at the bound of the request', stop: 'ended by itself', stopped: 'stopped by the client', stop_string: 'ended by a stop string' }
const ENDED = new Set(['SETTLED', 'VALIDATED', 'UPHELD', 'INVALIDATED', 'EXPIRED', 'WITHHELD', 'UNCONFIRMED'])

export async function story ({ get, args: [id], signal, leaving }) {
  const { inference: it, steps, times } = await get(`inferences/${id}`)
  const at = height => height && times[height] ? time(times[height]) : null
  const parts = kept(id, { get, signal, it })
  return {
    title: `Inference ${id.slice(0, 8)}`,
    heading: ['Inference ', h('span', { class: 'mono' }, `${id.slice(0, 12)}…`)],
    badge: status(it.status),
    lead: it.reason || undefined,
    news: ENDED.has(it.status) ? [] : ['inference', 'block'],
    body: [
      panel('Life', life(it, at)),
      panel('Request', facts([
        ['Id', ident(it.id, { whole: true, what: 'inference id' })],
        ['Model', it.model],
        ['Paid by', it.account === SPRINT ? 'nobody: an answer of the sprint' : accountId(it.account)],
        ['Agent', nodeId(it.agent)],
        ['Executor', nodeId(it.executor)],
        ['Prompt', plural(it.prompt_tokens, 'token')],
        ['Answer', plural(it.output_tokens, 'token'), it.finish_reason && `, ${REASONS[it.finish_reason] ?? it.finish_reason.replaceAll('_', ' ')}`,
          it.taken_over > 0 && `, ${it.taken_over} taken over from another executor`],
        ['Took', took(it, times)],
        ['Artifact root', ident(it.artifact_root, { whole: true, what: 'artifact root' })],
        ['Output', it.output_matches === null ? 'not confirmed yet'
          : it.output_matches ? 'agent and executor signed the same' : h('span', { class: 'bad' }, 'agent and executor signed different answers')],
        it.fault && ['Planted fault', it.fault],
        it.left_epoch !== null && ['Left the state', `after epoch ${it.left_epoch}`]
      ])),
      parts.draw,
      committees(it),
      parts.tokens,
      moneyPanel(it),
      panel('Records', table('Records about this inference', [
        { head: 'Record', title: 'one that the ledger refused is here too', cell: row => row.kind.toLowerCase().replaceAll('_', ' ') + (row.count > 1 ? ` × ${row.count}` : '') },
        { head: 'Block', num: true, cell: row => blockLink(row.height) },
        { head: 'Time', cell: row => time(row.time_ms) }
      ], steps, 'The blocks with its records are not among those that were read here.')),
      panel('Check it yourself',
        h('p', {}, 'What the state says of it, with a proof that needs no trust in a peer:'),
        h('pre', { class: 'command', tabindex: 0 }, `folkmoot prove inference ${it.id} --peer MULTIADDR`),
        it.account !== SPRINT && h('p', {}, 'The answer itself, with your own copy of the model:'),
        it.account !== SPRINT && h('pre', { class: 'command', tabindex: 0 }, `folkmoot verify ${it.id.slice(0, 12)}.proof --model FOLDER`))
    ]
  }
}

// while an inference lives, its page is drawn again and again; the parts that load by themselves stay
let last = null
function kept (id, context) {
  if (last?.id !== id || last.status !== context.it.status || last.signal !== context.signal) {
    const tokens = last?.id === id && last.signal === context.signal ? last.tokens : tokensPanel(id, context)
    const draw = last?.id === id && last.signal === context.signal && last.sure ? last.draw : null
    last = { id, status: context.it.status, signal: context.signal, tokens, draw, sure: false }
    last.draw ??= context.it.account === SPRINT ? undrawn() : drawPanel(id, context, () => { last.sure = true })
  }
  return last
}

const undrawn = () => panel('Draw', nothing('Nothing was drawn: the executor answered the beacon’s questions of the sprint by itself.'))

function life (it, at) {
  const committee = it.committees.at(-1)
  const wrong = ['INVALIDATED', 'EXPIRED', 'WITHHELD', 'UNCONFIRMED'].includes(it.status)
  const stages = [
    it.account === SPRINT ? ['Asked', it.draw_height, 'by the beacon'] : ['Drawn', it.draw_height, 'its executors'],
    ['Started', it.start_height, 'money held'],
    ['Finished', it.finish_height, 'executor signed'],
    ['Confirmed', it.output_height, 'agent signed'],
    committee && ['Committee', committee.height, `${committee.members.length} drawn to check`],
    it.verdicts.length && ['Verdicts', Math.max(...it.verdicts.map(one => one.height)), plural(it.verdicts.length, 'verdict')],
    it.dispute_height && ['Disputed', it.dispute_height, 'a verdict said invalid'],
    ['Ended', it.end_height, it.end_height ? it.status.toLowerCase() : 'not yet']
  ].filter(Boolean)
  return h('ol', { class: 'life', tabindex: 0, 'aria-label': 'Stages' }, stages.map(([name, height, note]) =>
    h('li', { class: [height && 'done', name === 'Ended' && wrong && height && 'bad'] },
      h('b', {}, name), height ? ['block ', blockLink(height)] : h('span', { class: 'muted' }, 'not yet'),
      h('br'), h('small', {}, note, at(height) && [', ', at(height)]))))
}

function took (it, times) {
  const [began, ended] = [times[it.start_height], times[it.finish_height]]
  if (!began || !ended) return '–'
  if (ended <= began) return 'within one block'
  const own = it.output_tokens - it.taken_over
  return `${span(ended - began)} between the blocks of Start and Finish; at least ${(1000 * own / (ended - began)).toFixed(1)} tokens a second`
}

function committees (it) {
  if (it.committees.length === 0) {
    return panel('Check', nothing(it.status === 'SETTLED'
      ? 'No committee was drawn: only a sample of all answers is checked. This one stands unchecked.'
      : ENDED.has(it.status) ? 'It ended before a committee was drawn.' : 'No committee has been drawn yet.'))
  }
  const said = new Map(it.verdicts.map(verdict => [verdict.validator, verdict]))
  return panel('Check', it.committees.map((committee, number) => [
    h('h3', {}, ['First', 'Second', 'Third'][number] ?? `${number + 1}.`, ' committee, drawn at block ', blockLink(committee.height)),
    table(`Committee ${number + 1}`, [
      { head: 'Validator', cell: node => nodeId(node) },
      { head: 'Committed', cell: node => committee.committed.includes(node) ? badge('committed', 'open') : badge(ENDED.has(it.status) ? 'missed' : 'waiting', ENDED.has(it.status) && 'warn') },
      { head: 'Verdict', cell: node => {
        const one = committee.revealed.includes(node) && said.get(node)
        return one ? badge(one.valid ? 'valid' : one.kind.replaceAll('_', ' '), one.valid ? 'good' : 'bad') : h('span', { class: 'muted' }, '–')
      } },
      { head: 'Tokens', num: true, title: 'that it compared', cell: node => committee.revealed.includes(node) && said.has(node) ? whole(said.get(node).tokens) : '–' },
      { head: 'Evidence', num: true, title: 'logarithm of the likelihood of cheating against honest, in nats; below 0 speaks for honest', cell: node => committee.revealed.includes(node) && said.has(node) ? (said.get(node).llr_milli / 1000).toFixed(2) : '–' },
      { head: 'Said at', num: true, cell: node => blockLink(committee.revealed.includes(node) && said.get(node)?.height) },
      { head: 'Reason', cell: node => h('span', { class: 'long' }, (committee.revealed.includes(node) && said.get(node)?.reason) || '') }
    ], committee.members)]),
  it.appeal && h('p', {}, 'Appealed by ', accountId(it.appeal.account), ' at block ', blockLink(it.appeal.height), ' with a bond of ', money(it.appeal.bond_micro), '.'))
}

function moneyPanel (it) {
  if (it.account === SPRINT) return panel('Money', nothing('No money moves for an answer of the sprint.'))
  const held = Math.max(it.escrow_micro - it.charged_micro - it.refunded_micro, 0)
  const due = Math.max(it.charged_micro - it.paid_micro, 0)
  const parts = [
    { name: 'booked for the executor', value: it.paid_micro, tone: 'good' },
    { name: 'charged, not decided yet or not paid', value: due, tone: 'warn' },
    { name: 'refunded', value: it.refunded_micro, tone: 'open' },
    { name: 'returned when it finished', value: held, tone: 'quiet' }
  ]
  return panel('Money',
    facts([
      ['Price of a token', money(it.price_micro)], ['Held at the Start', money(it.escrow_micro)],
      ['Charged', money(it.charged_micro), ` = ${whole(it.prompt_tokens)} + ${whole(it.output_tokens)} tokens`],
      ['Booked for the executor', money(it.paid_micro)], ['Refunded', money(it.refunded_micro)]
    ]),
    split(parts, `Of ${whole(it.escrow_micro)} micro-credits held: ${parts.map(one => `${whole(one.value)} ${one.name}`).join(', ')}`),
    h('ul', { class: 'legend' }, parts.filter(one => one.value).map(one => h('li', {}, h('i', { class: one.tone }), one.name, ' ', money(one.value)))))
}
