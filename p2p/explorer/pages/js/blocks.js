// Lists of blocks, and one block.
import {
  badge, blockLink, code, facts, h, ident, inferenceId, nodeId, nothing, pager, panel, plural, table, tile, tiles, time, whole
} from './dom.js'

/** Said where there is no block. */
export const NO_BLOCK = ['No block is decided yet. The first comes when peers with more than two thirds of the weight are connected: ', code('folkmoot status'), ' of each says what it waits for.']

export const blockColumns = [
  { head: 'Height', cell: row => blockLink(row.height) },
  { head: 'Time', cell: row => time(row.time_ms) },
  { head: 'Block id', cell: row => ident(row.block_id, { what: 'block id' }) },
  { head: 'Proposer', cell: row => nodeId(row.proposer) },
  { head: 'Transactions', num: true, cell: row => whole(row.txs) },
  { head: 'Records', num: true, cell: row => whole(row.records) },
  { head: 'Refused', num: true, title: 'records that did not fit the state when their turn came; they are sent again', cell: row => row.refused ? h('span', { class: 'warn' }, whole(row.refused)) : '0' },
  { head: 'Round', num: true, title: 'in which it was decided; 0 is the first', cell: row => row.commit_round ? h('span', { class: 'warn' }, row.commit_round) : '0' },
  { head: 'Signed', num: true, title: 'signatures in its certificate, of all validators', cell: row => `${row.signatures}/${row.validators}` }
]

export async function blocks ({ get, query }) {
  const before = query.get('before')
  const page = await get(`blocks?limit=50${before ? `&before=${before}` : ''}`)
  return {
    title: 'Blocks',
    lead: before ? `Below ${whole(Number(before))}.` : 'As they are decided.',
    news: before ? [] : ['block'],
    body: panel(before ? 'Older blocks' : 'Newest blocks',
      table('Blocks', blockColumns, page.blocks, NO_BLOCK),
      pager(page.next, next => `/explorer/#/blocks?before=${next}`))
  }
}

export async function block ({ get, args: [height] }) {
  const found = await get(`blocks/${height}`)
  const kinds = new Map()
  for (const record of found.records) kinds.set(record.kind, (kinds.get(record.kind) ?? 0) + 1)
  return {
    title: `Block ${whole(found.height)}`,
    badge: found.commit_round ? badge(`decided in round ${found.commit_round}`, 'warn') : badge('decided', 'good'),
    body: [
      tiles(
        tile('Time', time(found.time_ms)), tile('Transactions', whole(found.txs)),
        tile('Records', whole(found.records.length), `${found.refused.length} refused`),
        tile('Signatures', whole(found.signatures), 'in its certificate'), tile('Proposed in round', whole(found.round), '0 is the first')),
      panel('Header', facts([
        ['Block id', ident(found.block_id, { whole: true, what: 'block id' })],
        ['Proposer', nodeId(found.proposer)],
        ['State before it', ident(found.app_hash, { whole: true, what: 'app hash' })],
        ['Beacon', ident(found.beacon, { whole: true, what: 'beacon' })],
        ['Neighbours', found.height > 1 ? blockLink(found.height - 1) : 'the genesis file', ' and ', blockLink(found.height + 1)]
      ])),
      panel('Records', kinds.size
        ? h('p', {}, [...kinds].map(([kind, count]) => [badge(`${count} × ${kind.toLowerCase().replaceAll('_', ' ')}`), ' ']))
        : nothing('This block has no transactions.'),
      kinds.size ? table('Records of this block', [
        { head: 'Record', cell: row => row.kind.toLowerCase().replaceAll('_', ' ') },
        { head: 'About', cell: row => row.inference_id ? inferenceId(row.inference_id) : h('span', { class: 'muted' }, 'no inference') }
      ], found.records.slice(0, 500)) : null,
      found.records.length > 500 && nothing(`${plural(found.records.length - 500, 'record')} more are not shown.`)),
      found.refused.length
        ? panel('Refused by the ledger', h('p', { class: 'muted' }, 'Records that did not fit the state when their turn came, for example one that came before the record that it follows. Its sender sends it again in a later block.'), table('Refused records', [
          { head: 'Sender', cell: row => ident(row.sender, { what: 'sender' }) },
          { head: 'Record', num: true, cell: row => whole(row.index) },
          { head: 'Why', cell: row => row.code.replaceAll('_', ' ') }, { head: 'Field', cell: row => row.field }
        ], found.refused))
        : null
    ]
  }
}
