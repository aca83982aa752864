// The panel in which a draw is made again. Law: nothing of it is taken from the answer that it checks.
import { failure, h, nodeId, nothing, panel, table, whole } from './dom.js'
import { check } from './draw.js'
import { compare, toHex } from './hash.js'

const AGAIN_MS = 2000
const TRIES = 30

/** sure: called when no step waits for a later header any more. */
export function drawPanel (id, { get, signal }, sure) {
  const body = h('div', { 'aria-live': 'polite' }, nothing('Fetching the proofs …'))
  const headers = new Map()
  const headerOf = async height => {
    if (!headers.has(height)) {
      try {
        headers.set(height, (await get(`headers/${height}`)).light)
      } catch (error) {
        if (error.status !== 404) throw error
        return null
      }
    }
    return headers.get(height)
  }
  const run = async left => {
    try {
      const found = await check(await get(`draws/${id}`), headerOf)
      if (signal.aborted) return
      body.replaceChildren(...result(found))
      const waits = found.steps.some(step => step.text.includes('not decided yet'))
      if (waits && left > 0) setTimeout(() => signal.aborted || run(left - 1), AGAIN_MS)
      else sure()
    } catch (error) {
      if (!signal.aborted) body.replaceChildren(failure(error, () => run(0)))
    }
  }
  run(TRIES)
  return panel('Draw, made again in this page', body)
}

const MARKS = new Map([[true, ['✓', 'good', 'holds']], [false, ['✗', 'bad', 'does not hold']], [null, ['…', 'warn', 'open']]])

function result ({ steps, picks, candidates }) {
  return [
    h('ul', { class: 'checks', id: 'draw-checks' }, steps.map(({ name, ok, text }) => {
      const [mark, tone, word] = MARKS.get(ok)
      return h('li', {}, h('span', { class: ['mark', tone], role: 'img', 'aria-label': word }, mark), h('b', {}, name), h('span', {}, text))
    })),
    picks.length
      ? table('Executors, drawn again', [
        { head: '#', cell: row => row.at + 1 },
        { head: 'Point', num: true, title: 'H(draw-executors, beacon, id, #) modulo the weight that is left', cell: row => whole(row.point) },
        { head: 'Of weight', num: true, cell: row => whole(row.total) },
        { head: 'Drawn here', cell: row => nodeId(toHex(row.node)) },
        { head: 'Its weight', num: true, cell: row => whole(row.weight) },
        { head: 'On chain', cell: row => candidates[row.at] && compare(candidates[row.at], row.node) === 0
          ? h('span', { class: 'good' }, 'the same') : h('span', { class: 'bad' }, candidates[row.at] ? toHex(candidates[row.at]).slice(0, 8) : 'nobody') }
      ], picks.map((pick, at) => ({ ...pick, at })))
      : h('div', {}, h('h3', {}, 'Drawn, says the chain'), h('p', {}, candidates.map((node, at) => [at ? ', ' : '', nodeId(toHex(node))]))),
    h('p', { class: 'muted' }, 'The page hashes every byte up to headers. That validators signed those headers is this program’s word; ', h('code', {}, 'folkmoot verify-header'), ' checks it.')
  ]
}
