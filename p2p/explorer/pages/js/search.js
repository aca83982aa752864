// What a search finds. One result opens by itself.
import { h, link, nothing, panel, table } from './dom.js'

const PLACES = { block: link.block, inference: link.inference, participant: link.participant, account: link.account, peer: () => '/explorer/#/map' }

export async function search ({ get, query }) {
  const text = (query.get('q') ?? '').trim()
  const found = text ? (await get(`search?q=${encodeURIComponent(text)}`)).found : []
  if (found.length === 1) location.replace(PLACES[found[0].kind](found[0].id))
  return {
    title: 'Search',
    heading: text ? ['Search: ', h('span', { class: 'mono' }, text.length > 24 ? text.slice(0, 24) + '…' : text)] : 'Search',
    body: panel('Found', found.length
      ? table('Found', [
        { head: 'What', cell: row => row.why },
        { head: 'Id', cell: row => h('a', { class: 'mono', href: PLACES[row.kind](row.id) }, row.id) }
      ], found)
      : nothing(text ? `Nothing here has the height or id ${text.slice(0, 40)}. ` : '', 'Give a height, or the id of a block, inference, participant, account or peer. The first four characters of what was read here are enough.'))
  }
}
