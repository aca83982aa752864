// Epochs with the sprint, prices, consensus.
import { bars, meter, steps } from './charts.js'
import { NO_BLOCK, blockColumns } from './blocks.js'
import {
  badge, blockLink, code, h, ident, money, nodeId, nothing, pager, panel, percent, plural, span, table, tile, tiles, whole
} from './dom.js'

const median = values => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]

/** A column of what an epoch came to; the running one has no sums yet. */
const sum = (show, name) => row => row.sums.settled_at ? show(row.sums[name]) : '–'
const PHASES = [['answer', 'Answer', 'first'], ['draw', 'Draw', 'close'], ['open', 'Open', 'draw'], ['checks', 'Checks', 'end']]

export async function epochs ({ get, query }) {
  const before = query.get('before')
  const page = await get(`epochs${before ? `?before=${before}` : ''}`)
  return {
    title: 'Epochs',
    lead: 'Weights hold for an epoch. Fees, rewards and fines are settled at its last block; its sums are there from then on.',
    news: before ? [] : ['block'],
    body: [
      before ? null : sprint(page.sprint),
      panel(before ? 'Older epochs' : 'Newest epochs', table('Epochs', [
        { head: 'Epoch', num: true, cell: row => whole(row.epoch) },
        { head: 'Blocks', cell: row => h('span', { class: 'links' }, blockLink(row.first_height), ' – ', row.last_height <= page.height ? blockLink(row.last_height) : whole(row.last_height)) },
        { head: 'Settled', cell: row => row.sums.settled_at ? blockLink(row.sums.settled_at) : badge(row.epoch === page.epoch ? 'running' : 'open', 'open') },
        { head: 'Inferences', num: true, cell: sum(whole, 'count') },
        { head: 'Work', num: true, title: 'tokens, weighted', cell: sum(whole, 'work') },
        { head: 'Fees', num: true, cell: sum(money, 'fees_micro') },
        { head: 'Minted', num: true, cell: sum(money, 'minted_micro') },
        { head: 'Paid', num: true, cell: sum(money, 'paid_micro') },
        { head: 'For checks', num: true, cell: sum(money, 'duties_micro') },
        { head: 'Slashed', num: true, cell: sum(money, 'slashed_micro') },
        { head: 'Burnt', num: true, cell: sum(money, 'burnt_micro') }
      ], page.epochs, 'The first epoch has not begun.'), pager(page.next, next => `/explorer/#/epochs?before=${next}`))
    ].filter(Boolean)
  }
}

function sprint (found) {
  if (found.phase === 'none') {
    return panel('Sprint', nothing('This network has no sprints: weights stay as the genesis file has them.'))
  }
  const now = PHASES.findIndex(([name]) => name === found.phase)
  return panel(`Sprint of epoch ${whole(found.epoch)}`,
    h('ol', { class: 'life', tabindex: 0, 'aria-label': 'Phases of the sprint' }, PHASES.map(([name, title, from], at) =>
      h('li', { class: at <= now && 'done' }, h('b', {}, title), h('small', {}, found[from] ? `from block ${whole(found[from])}` : '')))),
    found.phase === 'waiting' && h('p', { class: 'muted' }, 'It waits for the epoch’s first beacon.'),
    table('Runs of the sprint', [
      { head: 'Node', cell: row => nodeId(row.node) }, { head: 'Model', cell: row => row.model },
      { head: 'Answers', num: true, cell: row => whole(row.count) }, { head: 'To open', num: true, cell: row => whole(row.samples) },
      { head: 'Opened', num: true, cell: row => [whole(row.opened), meter(row.opened, row.samples, `${row.opened} of ${row.samples} opened`)] },
      { head: 'Stood', num: true, cell: row => h('span', { class: row.checked && 'good' }, whole(row.checked)) },
      { head: 'Refused', num: true, cell: row => row.refused ? h('span', { class: 'bad' }, row.refused) : '0' },
      { head: 'Withheld', num: true, cell: row => row.withheld ? h('span', { class: 'warn' }, row.withheld) : '0' }
    ], found.runs ?? [], 'Nobody has committed to answers yet.'),
    (found.participants ?? []).length > 0 && h('details', {}, h('summary', {}, 'Weights that come of it'), table('Weights', [
      { head: 'Node', cell: row => nodeId(row.node) }, { head: 'Weight now', num: true, cell: row => whole(row.weight) },
      { head: 'If the epoch ended now', num: true, cell: row => whole(row.weight_next) }
    ], found.participants)))
}

export async function prices ({ get }) {
  const page = await get('prices')
  const past = new Map(page.history.map(one => [one.model, one.points]))
  return {
    title: 'Prices',
    lead: 'What a token costs in the next block. It moves with how much of the capacity is used.',
    news: ['prices', 'block'],
    body: page.now.length === 0
      ? panel('Models', nothing('No model of this network has a price yet. ', code('folkmoot model add'), ' proposes one; ', code('folkmoot account register'), ' offers it.'))
      : page.now.map(row => {
        const points = past.get(row.model) ?? []
        return panel(row.model,
          tiles(tile('A token', money(row.price_micro)),
            tile('A million tokens', money(row.price_micro * 1e6)),
            tile('Used', row.utilisation_milli < 0 ? '–' : percent(row.utilisation_milli, 1000), row.utilisation_milli < 0 ? 'there is no capacity' : 'of the capacity'),
            tile('Changes seen', whole(Math.max(points.length - 1, 0)), points[0] && `since block ${whole(points[0].height)}`)),
          points.length > 1
            ? [
                h('h3', {}, 'Price of a token, in micro-credits'),
                steps(points.map(p => ({ x: p.height, y: p.price_micro, name: `block ${whole(p.height)}` })),
                  { label: `Price of ${row.model} from ${points[0].price_micro} to ${points.at(-1).price_micro} micro-credits` }),
                h('h3', {}, 'Share of the capacity that was used'),
                steps(points.map(p => ({ x: p.height, y: Math.max(p.utilisation_milli, 0) / 10, name: `block ${whole(p.height)}` })),
                  { label: `Use of ${row.model}`, format: value => `${value.toFixed(1)} %` })]
            : nothing('It has not moved since this page began to look.'))
      })
  }
}

const at = ({ height, round, step }) => round < 0 ? `block ${whole(height)}, not begun` : `block ${whole(height)}, round ${round}, ${step.toLowerCase()}`

export async function consensus ({ get }) {
  const page = await get('consensus?limit=50')
  const total = Object.values(page.rounds).reduce((sum, count) => sum + count, 0)
  const rows = [...page.blocks].reverse()
  const steps = rows.slice(1).map((row, at) => ({ row, ms: row.time_ms - rows[at].time_ms }))
  return {
    title: 'Consensus',
    lead: 'In which round blocks are decided, and who signs them.',
    news: ['block', 'peers'],
    body: [
      tiles(steps.length > 0 && tile('Time between blocks', span(median(steps.map(one => one.ms))), `median of ${plural(steps.length, 'block')}`), ...Object.entries(page.rounds).slice(0, 6).map(([round, count]) =>
        tile(`Decided in round ${round}`, percent(count, total), plural(count, 'block')))),
      panel('Time between blocks', steps.length
        ? bars(steps.map(({ row, ms }) => ({ value: ms / 1000, tone: row.commit_round ? 'warn' : '', title: `Block ${whole(row.height)}: ${ms} ms, round ${row.commit_round}` })),
          { label: `Seconds between the last ${steps.length} blocks, oldest first`, height: 106, unit: ' s', least: 0.2, first: `block ${whole(steps[0].row.height)}`, last: `block ${whole(steps.at(-1).row.height)}` })
        : nothing('It takes two blocks to tell.'),
      steps.length > 0 && h('ul', { class: 'legend' }, h('li', {}, h('i'), 'round 0'), h('li', {}, h('i', { class: 'warn' }), 'a later round'))),
      panel('Where peers stand', table('Peers', [
        { head: 'Peer', cell: row => ident(row.peer_id, { what: 'peer id' }) },
        { head: 'Node', cell: row => row.status ? nodeId(row.status.node) : '–' },
        { head: 'Height', num: true, cell: row => row.status ? whole(row.status.height) : '–' },
        { head: 'Works on', title: 'the block that it helps to decide, the round, and the step of the round', cell: row => row.status ? at(row.status.consensus) : h('span', { class: 'warn' }, 'silent') },
        { head: 'Role', cell: row => row.status ? badge(row.status.consensus.validator ? 'validator' : 'follows', row.status.consensus.validator && 'good') : '–' },
        { head: 'Timers', num: true, title: 'in percent of the network’s: more where rounds fail', cell: row => row.status ? `${row.status.consensus.pace_percent} %` : '–' },
        { head: 'Clock', num: true, title: 'ahead of the network’s', cell: row => row.status?.consensus.clock_lag_ms == null ? '–' : `${row.status.consensus.clock_lag_ms} ms` },
        { head: 'Vote streams', num: true, cell: row => row.status ? whole(row.status.consensus.vote_streams) : '–' }
      ], page.peers, 'No peer has answered yet.')),
      panel('Who signed', table('Signatures of validators', [
        { head: 'Validator', cell: row => nodeId(row.node) }, { head: 'Signed', num: true, cell: row => whole(row.signed) },
        { head: 'Of', num: true, cell: row => whole(row.could_sign) },
        { head: 'Share', num: true, cell: row => [percent(row.signed, row.could_sign), meter(row.signed, row.could_sign, `${row.signed} of ${row.could_sign}`)] }
      ], page.signed, 'The first certificate comes with the first block.'),
      h('p', { class: 'muted' }, 'A certificate is complete with more than two thirds of the weight. Votes that come later are not in it.')),
      panel('Newest blocks', table('Blocks', blockColumns, page.blocks.slice(0, 25), NO_BLOCK))
    ]
  }
}
