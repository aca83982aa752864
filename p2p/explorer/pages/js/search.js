// What a search finds. One result opens by itself.
import { h, link, nothing, panel, table } from './dom.js'

const PLACES = { block: link.block, inference: link.inference, participant: link.participant, account: link.account, peer: () => '/explorer/#/map' }

export async function search ({ get, query }) {
  const text = (query.get('q') ?? '').trim()
  const found = text ? (await get(`search?q=${encodeURIComponent(text)}`)).found : []
  if (found.length === 1) location.replace(PLACES[found[0].kind](found[0].id))
  return {
    title: 'Search',
    heading: text ? ['Search: ', h('span', { class: 'mono' }, text.length > 40 ? text.slice(0, 40) + '…' : text)] : 'Search',
    body: panel('Found', found.length
      ? table('Found', [
        { head: 'What', cell: row => row.why },
        { head: 'Id', cell: row => h('a', { class: 'mono', href: PLACES[row.kind](row.id) }, row.id) }
      ], found)
      : nothing('Nothing. Give a height, or an id of an inference, participant, account or peer; of what was read here, its first four characters are enough.'))
  }
}
