// The overview: where the network stands, and its newest blocks and inferences.
import { bars } from './charts.js'
import {
  blockLink, h, inferenceId, money, nodeId, nothing, panel, plural, span, status, table, tile, tiles, time, whole
} from './dom.js'

export async function home ({ get }) {
  const [now, blocks, inferences] = await Promise.all([
    get('overview'), get('blocks?limit=60'), get('inferences?limit=12')
  ])
  const rows = blocks.blocks
  const price = now.prices[0]
  return {
    title: 'Overview',
    lead: now.behind > 1 && `This page is still reading: ${plural(now.behind, 'block')} to go.`,
    news: ['block', 'inference', 'peers'],
    body: [
      tiles(
        tile('Height', blockLink(now.height), now.time_ms ? time(now.time_ms) : 'no block yet'),
        tile('Block time', span(now.block_ms), now.block_ms === null ? 'no two blocks yet' : 'median of the last 50'),
        tile('Epoch', h('a', { href: '/explorer/#/epochs' }, whole(now.epoch))),
        tile('Participants', h('a', { href: '/explorer/#/participants' }, whole(now.participants)), `weight ${whole(now.weight)}`),
        tile('Connected peers', h('a', { href: '/explorer/#/map' }, whole(now.peers))),
        tile('Running', h('a', { href: '/explorer/#/inferences?status=open' }, whole(now.running)), `of ${plural(now.inferences, 'inference')}`),
        tile('Tokens', whole(now.tokens), 'in these answers'),
        price && tile('Price', h('a', { href: '/explorer/#/prices' }, money(price.price_micro)), 'a token')
      ),
      h('div', { class: 'panel pulse' }, h('h2', {}, 'Records in the last blocks'),
        rows.length
          ? bars([...rows].reverse().map(row => ({
            value: row.records, tone: row.commit_round ? 'warn' : row.records ? '' : 'quiet',
            title: `Block ${whole(row.height)}: ${plural(row.records, 'record')}, round ${row.commit_round}`
          })), { label: `Records in each of the last ${rows.length} blocks, oldest first`, height: 96, least: 4, first: `block ${whole(rows.at(-1).height)}`, last: `block ${whole(rows[0].height)}` })
          : nothing('They appear here as blocks are decided.')),
      h('div', { class: 'two' },
        panel('Newest blocks', table('Newest blocks', [
          { head: 'Height', cell: row => blockLink(row.height) },
          { head: 'Time', cell: row => time(row.time_ms) },
          { head: 'Proposer', cell: row => nodeId(row.proposer) },
          { head: 'Records', num: true, cell: row => whole(row.records) },
          { head: 'Signed', num: true, cell: row => `${row.signatures}/${row.validators}` }
        ], rows.slice(0, 12), 'No block has been read yet. The first one comes with the first vote.'),
        h('p', { class: 'pager' }, h('a', { href: '/explorer/#/blocks' }, 'All blocks'))),
        panel('Newest inferences', table('Newest inferences', [
          { head: 'Inference', cell: row => inferenceId(row.id) },
          { head: 'Time', cell: row => time(row.start_ms) },
          { head: 'Status', cell: row => status(row.status) },
          { head: 'Executor', cell: row => nodeId(row.executor) },
          { head: 'Tokens', num: true, cell: row => whole(row.output_tokens) }
        ], inferences.inferences, ['Nobody has asked anything in the blocks that were read. ', h('code', {}, 'folkmoot ask'), ' does, and the chat page.']),
        h('p', { class: 'pager' }, h('a', { href: '/explorer/#/inferences' }, 'All inferences'))))
    ]
  }
}
