// Participants, hosts, accounts.
import { meter } from './charts.js'
import {
  accountId, badge, blockLink, code, facts, h, ident, money, nodeId, nothing, pager, panel, percent, plural, table, tile, tiles, whole
} from './dom.js'
import { inferenceColumns } from './inferences.js'

export async function participants ({ get, query }) {
  const start = Number(query.get('start') ?? 0) || 0
  const page = await get(`participants?limit=50&start=${start}`)
  return {
    title: 'Participants',
    lead: 'Who serves, checks and votes, and what the chain holds of their conduct in the running epoch.',
    news: ['block'],
    body: [
      tiles(tile('Participants', whole(page.total)), tile('Epoch', whole(page.epoch)),
        tile('Honest answers checked', whole(page.honest), plural(page.false_alarms, 'false alarm')),
        tile('Cheats caught', whole(page.cheats)),
        tile('Conviction at', `${(page.conviction_milli / 1000).toFixed(1)} nats`, 'of evidence')),
      panel('By weight', table('Participants', [
        { head: 'Node', cell: ({ conduct }) => nodeId(conduct.node) },
        { head: 'State', cell: ({ conduct }) => standing(conduct) },
        { head: 'Weight', num: true, cell: ({ conduct }) => whole(conduct.weight) },
        { head: 'Reputation', num: true, cell: ({ conduct }) => whole(conduct.reputation) },
        { head: 'Answers', num: true, cell: ({ conduct }) => whole(conduct.finished) },
        { head: 'Checked', num: true, cell: ({ conduct }) => whole(conduct.checked) },
        { head: 'Checks missed', num: true, title: 'duties to check, missed in this epoch', cell: ({ conduct }) => missed(conduct.missed, conduct.duties) },
        { head: 'Answers missed', num: true, title: 'requests it was drawn for and did not answer', cell: ({ conduct }) => missed(conduct.unfinished) },
        { head: 'Withheld', num: true, title: 'payloads it showed nobody', cell: ({ conduct }) => missed(conduct.withheld) },
        { head: 'Not signed', num: true, title: 'blocks here whose certificate lacks its signature; it is complete with two thirds, so late votes are not in it', cell: ({ host }) => host?.could_sign ? `${whole(host.could_sign - host.signed)} of ${whole(host.could_sign)}` : '–' },
        { head: 'Evidence', num: true, title: 'against it as executor, in nats', cell: ({ conduct }) => (conduct.log_e_milli / 1000).toFixed(2) },
        { head: 'Convictions', num: true, cell: ({ conduct }) => conduct.convictions ? h('span', { class: 'bad' }, conduct.convictions) : '0' },
        { head: 'Owner', cell: ({ conduct }) => accountId(conduct.owner) }
      ], page.participants, ['Nobody has registered yet: ', code('folkmoot account register'), ' does.']),
      pager(page.next, next => `/explorer/#/participants?start=${next}`, 'More'))
    ]
  }
}

const missed = (count, of) => count
  ? h('span', { class: 'warn' }, whole(count), of ? ` of ${whole(of)}` : '')
  : of ? `0 of ${whole(of)}` : '0'

function standing (row) {
  if (row.convicted) return badge('convicted', 'bad')
  if (row.barred) return badge('barred', 'bad')
  if (row.suspended) return badge('suspended', 'warn')
  if (row.excluded) return badge('excluded', 'warn')
  return row.weight ? badge('active', 'good') : badge('without weight')
}

export async function participant ({ get, args: [id] }) {
  const { conduct, host, account, earnings, inferences } = await get(`participants/${id}`)
  const own = earnings.own
  return {
    title: `Participant ${id.slice(0, 8)}`,
    heading: ['Participant ', h('span', { class: 'mono' }, `${id.slice(0, 12)}…`)],
    badge: standing(conduct),
    lead: conduct.excluded || undefined,
    news: ['block'],
    body: [
      tiles(tile('Weight', whole(conduct.weight)), tile('Reputation', whole(conduct.reputation)),
        tile('Earned in this epoch', money(own.paid_micro + own.reward_micro + own.duties_micro + own.bounty_micro), `epoch ${earnings.epoch}`),
        tile('Answers', whole(conduct.finished), `${whole(conduct.checked)} checked`),
        tile('In certificates', host ? percent(host.signed, host.could_sign) : '–', host && `of ${whole(host.could_sign)} read here`),
        tile('Convictions', whole(conduct.convictions), plural(conduct.clean_epochs, 'clean epoch'))),
      h('div', { class: 'two' },
        panel('Who', facts([
          ['Node key', ident(conduct.node, { whole: true, what: 'node key' })], ['Owner', accountId(conduct.owner)],
          account && ['Models', account.models.join(', ') || 'none'],
          account?.stacks.length > 0 && ['Stacks', account.stacks.join(', ')],
          account && ['Collateral', money(account.collateral_micro)], account && ['Bond', money(account.bond_micro)],
          account && ['Least price', account.price_floor_micro ? money(account.price_floor_micro) : 'any'],
          account?.metadata && ['Says of itself', account.metadata],
          account?.leaving > 0 && ['Leaves at block', blockLink(account.leaving)],
          conduct.convicted && ['Convicted', `${conduct.convicted_reason}, until block ${conduct.convicted_until}`],
          conduct.barred && ['Barred', `${conduct.barred_reason}, until block ${conduct.barred_until}`],
          conduct.suspended && ['Suspended', `${conduct.suspended_reason}, until block ${conduct.suspended_until}`]
        ])),
        panel('Missed duties', table('Missed duties by kind', [
          { head: 'Duty', cell: row => row.name }, { head: 'Missed', num: true, cell: row => missed(row.missed) },
          { head: 'Of', num: true, cell: row => row.of === null ? '–' : whole(row.of) },
          { head: 'Evidence', num: true, title: 'in nats', cell: row => row.e === null ? '–' : (row.e / 1000).toFixed(2) }
        ], [
          { name: 'Check an answer', missed: conduct.missed, of: conduct.duties, e: conduct.missed_log_e_milli },
          { name: 'Answer a request', missed: conduct.unfinished, of: null, e: null },
          { name: 'Show a payload', missed: conduct.withheld, of: null, e: conduct.withheld_log_e_milli },
          { name: 'Find a planted fault', missed: conduct.missed_faults, of: conduct.faults, e: conduct.detection_log_e_milli },
          { name: 'Answer this program (looks)', missed: host ? host.looks - host.answered : 0, of: host ? host.looks : 0, e: null }
        ]))),
      h('div', { class: 'two' },
        panel(`Money of epoch ${earnings.epoch}`, facts([
          ['Fees booked', money(own.fees_micro)], ['Paid', money(own.paid_micro)], ['Reward', money(own.reward_micro)],
          ['For checks', money(own.duties_micro)], ['Bounties', money(own.bounty_micro)],
          ['Forfeited', money(own.forfeited_micro)], ['Slashed', money(own.slashed_micro)], ['Fined', money(own.fined_micro)],
          ['Withheld', money(own.withheld_micro)]
        ])),
        panel('Evidence', facts([
          ['As executor', `${(conduct.log_e_milli / 1000).toFixed(2)} nats`],
          ['Tokens checked', whole(conduct.checked_tokens)],
          ['Its numbers compared', `${plural(conduct.compared, 'time')}, ${whole(conduct.outliers)} far from the others`],
          ['Distance from others', `${(conduct.distance_log_e_milli / 1000).toFixed(2)} nats`],
          ['Strikes', whole(conduct.strikes)], ['Open disputes', whole(conduct.open_disputes)],
          ['Faults it planted', whole(conduct.plants)]
        ]))),
      panel('Reputation by model and stack', table('Reputations',
        Object.keys(conduct.reputations[0] ?? { model: '' }).map(name => ({
          head: name.replaceAll('_', ' '), num: typeof conduct.reputations[0]?.[name] === 'number', cell: row => plain(row[name])
        })), conduct.reputations, 'None yet: it comes with answers that are checked and paid.')),
      panel('Its newest inferences', table('Inferences', inferenceColumns, inferences, 'It has no part in those that were read here.'))
    ]
  }
}

const plain = value => typeof value === 'number' ? whole(value) : String(value)

export async function account ({ get, args: [id] }) {
  const [found, page] = await Promise.all([get(`accounts/${id}`), get(`inferences?limit=25&account=${id}`)])
  const isNew = !found.balance_micro && !found.nodes.length && found.next_nonce === 1
  return {
    title: `Account ${id.slice(0, 8)}`,
    heading: ['Account ', h('span', { class: 'mono' }, `${id.slice(0, 12)}…`)],
    lead: isNew ? 'The chain has never seen this account: it has no credits and has signed nothing.' : undefined,
    news: ['block'],
    body: [
      tiles(tile('Balance', money(found.balance_micro)), tile('Next nonce', whole(found.next_nonce), 'number of its next transaction'),
        tile('Nodes', whole(found.nodes.length)), tile('Hot keys', whole(found.hot_keys.length), 'may ask in its name')),
      panel('Account', facts([
        ['Key', ident(found.account, { whole: true, what: 'account' })],
        ['Most in an epoch', found.epoch_cap_micro ? money(found.epoch_cap_micro) : 'no cap'],
        ['Most for a request', found.request_cap_micro ? money(found.request_cap_micro) : 'no cap']
      ])),
      found.nodes.length > 0 && panel('Nodes', table('Nodes', [
        { head: 'Node', cell: row => nodeId(row.node) }, { head: 'Weight', num: true, cell: row => whole(row.weight) },
        { head: 'Collateral', num: true, cell: row => money(row.collateral_micro) }, { head: 'Models', cell: row => row.models.join(', ') }
      ], found.nodes)),
      found.notices.length > 0 && panel('What became of earlier inferences', table('Notices', [
        { head: 'Inference', cell: row => ident(row.inference_id, { to: `/explorer/#/inferences/${row.inference_id}` }) },
        { head: 'What', cell: row => row.what.toLowerCase() }, { head: 'Refunded', num: true, cell: row => money(row.amount_micro) },
        { head: 'Block', num: true, cell: row => blockLink(row.height) }
      ], found.notices)),
      panel('Its inferences', table('Inferences', inferenceColumns.filter(column => column.head !== 'Account'), page.inferences, 'It has asked nothing in the blocks that this program has read.'))
    ].filter(Boolean)
  }
}

export async function hosts ({ get }) {
  const page = await get('hosts')
  const timed = page.hosts.some(row => row.timed)
  const span = page.last_height ? `Counted over blocks ${whole(page.first_height)} to ${whole(page.last_height)}.` : ''
  return {
    title: 'Hosts',
    lead: `${span} ${timed ? 'Times to the first token are this gateway’s own measurements.' : 'Times to the first token appear where a gateway on this port has asked a host.'}`,
    news: ['block'],
    body: panel('Public statistics', page.hosts.length
      ? table('Hosts', [
        { head: 'Host', cell: row => nodeId(row.node) },
        { head: 'First token', num: true, title: 'median, measured by this gateway from the moment the host was asked', cell: row => row.timed ? row.timed.first_token_ms ? `${whole(row.timed.first_token_ms)} ms` : '< 1 ms' : '–' },
        { head: 'Tokens/s', num: true, title: 'median, measured by this gateway', cell: row => row.timed?.tokens_a_second ? row.timed.tokens_a_second.toFixed(1) : '–' },
        { head: 'On chain ≥', num: true, title: 'tokens a second by the times of blocks: a lower bound', cell: row => row.chain_tokens_a_second === null ? '–' : row.chain_tokens_a_second.toFixed(1) },
        { head: 'Uptime', num: true, title: 'share of this program’s looks at it that it answered', cell: row => row.looks ? [percent(row.answered, row.looks), meter(row.answered, row.looks, `${row.answered} of ${row.looks} looks answered`)] : h('span', { title: 'This program has not been connected to it.' }, '–') },
        { head: 'Signed', num: true, title: 'share of certificates with its signature; one is complete with two thirds, so late votes are not in it', cell: row => percent(row.signed, row.could_sign) },
        { head: 'Answers', num: true, cell: row => whole(row.finished) },
        { head: 'Stood', num: true, cell: row => h('span', { class: row.stood && 'good' }, whole(row.stood)) },
        { head: 'Refused', num: true, cell: row => row.refused ? h('span', { class: 'bad' }, whole(row.refused)) : '0' },
        { head: 'Unjudged', num: true, title: 'expired, withheld, unconfirmed', cell: row => row.unjudged ? h('span', { class: 'warn' }, whole(row.unjudged)) : '0' },
        { head: 'Tokens', num: true, cell: row => whole(row.output_tokens) },
        { head: 'Verdicts given', num: true, cell: row => [whole(row.verdicts), row.verdicts_against ? h('span', { class: 'bad' }, `, ${plural(row.verdicts_against, 'invalid', 'invalid')}`) : null] }
      ], page.hosts)
      : nothing('Nobody has answered, checked or voted in the blocks that this program has read. ', code('folkmoot join NAME --serve MODEL'), ' makes a host of this machine.'))
  }
}
