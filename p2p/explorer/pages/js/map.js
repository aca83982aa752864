// The map: participants on a ring by weight, and the work that goes between them.
import { badge, code, h, ident, link, nodeId, nothing, panel, percent, plural, table, whole } from './dom.js'

const SIZE = 640
const MIDDLE = SIZE / 2
const RADIUS = 235
const SIDE = 90 // room for the names left and right

export async function map ({ get }) {
  const page = await get('map')
  return {
    title: 'Map',
    lead: 'Participants, and the answers and checks of the last inferences between them. What runs now moves.',
    news: ['block', 'inference', 'peers'],
    body: [
      panel('Peers and streams', page.nodes.length ? drawing(page) : nothing('Nobody has registered yet: ', code('folkmoot account register'), ' does.'),
        page.more > 0 && nothing(`${plural(page.more, 'participant')} with less weight are not drawn.`),
        page.nodes.length > 0 && h('ul', { class: 'legend' }, h('li', {}, h('i', { class: 'open' }), 'this program is connected to it'),
          h('li', {}, h('i', { class: 'good' }), 'answers a request now'), h('li', {}, 'solid: agent to executor; dashed: executor to validator'))),
      panel('Streams', table('Streams', [
        { head: 'From', cell: row => nodeId(row.source) }, { head: 'To', cell: row => nodeId(row.target) },
        { head: 'What', cell: row => row.kind === 'answer' ? 'answers' : 'checks' },
        { head: 'Inferences', num: true, cell: row => whole(row.count) },
        { head: 'Running', num: true, cell: row => row.running ? h('span', { class: 'good' }, whole(row.running)) : '0' }
      ], page.streams.slice(0, 40), 'They appear with the first inference: answers go from the agent to the executor, checks from the executor to validators.')),
      panel('Peers that this program is connected to', table('Peers', [
        { head: 'Peer', cell: row => ident(row.peer_id, { what: 'peer id' }) },
        { head: 'Node', cell: row => row.status ? nodeId(row.status.node) : '–' },
        { head: 'State', cell: row => row.status ? badge(row.status.state, row.status.state === 'ready' ? 'good' : 'warn') : badge('silent', 'warn') },
        { head: 'Blocks', num: true, cell: row => row.status ? `${whole(row.status.base)} – ${whole(row.status.height)}` : '–' },
        { head: 'Connections', num: true, cell: row => row.status ? whole(row.status.connections) : '–' },
        { head: 'Requests now', num: true, cell: row => row.status ? whole(row.status.jobs) : '–' },
        { head: 'Answered', num: true, title: 'of the looks at it', cell: row => percent(row.answered, row.looks) },
        { head: 'Address', cell: row => h('span', { class: 'mono' }, row.status?.addresses[0]?.replace(/\/p2p\/.*/, '') ?? '–') }
      ], page.peers, 'No peer has answered yet.'))
    ]
  }
}

function drawing (page) {
  const place = new Map(page.nodes.map((node, at) => {
    const angle = 2 * Math.PI * at / page.nodes.length - Math.PI / 2
    return [node.node, { x: MIDDLE + RADIUS * Math.cos(angle), y: MIDDLE + RADIUS * Math.sin(angle), angle }]
  }))
  const most = Math.max(...page.nodes.map(node => node.weight), 1)
  const busiest = Math.max(...page.streams.map(one => one.count), 1)
  const edges = page.streams.filter(one => one.source !== one.target).slice(0, 120).map(one => {
    const [a, b] = [place.get(one.source), place.get(one.target)]
    const bend = one.kind === 'answer' ? 0.14 : 0.28 // to the left of its way, so that no two lie on each other
    const [x, y] = [(a.x + b.x) / 2 - bend * (b.y - a.y), (a.y + b.y) / 2 + bend * (b.x - a.x)]
    return h('path', { class: ['edge', one.kind === 'check' && 'check', one.running && 'running'], d: `M${f(a.x)},${f(a.y)}Q${f(x)},${f(y)} ${f(b.x)},${f(b.y)}`, 'stroke-width': f(1 + 2.5 * one.count / busiest) },
      h('title', {}, `${one.source.slice(0, 8)} to ${one.target.slice(0, 8)}: ${plural(one.count, one.kind)}, ${one.running} running`))
  })
  const svg = h('svg', { class: 'map', viewBox: `${-SIDE} 0 ${SIZE + 2 * SIDE} ${SIZE}`, role: 'group', 'aria-label': `${plural(page.nodes.length, 'participant')} and ${plural(page.streams.length, 'stream')} between them; the tables below have the same` }, edges)
  page.nodes.forEach((node, at) => {
    const { x, y, angle } = place.get(node.node)
    const size = 6 + 10 * Math.sqrt(node.weight / most)
    const out = size + 10
    const right = Math.cos(angle)
    const anchor = right > 0.3 ? 'start' : right < -0.3 ? 'end' : 'middle'
    const shown = document.createElementNS('http://www.w3.org/2000/svg', 'a')
    shown.setAttribute('href', link.participant(node.node))
    shown.setAttribute('class', ['node', node.peer_id && 'linked', node.jobs && 'busy'].filter(Boolean).join(' '))
    shown.setAttribute('aria-label', `Participant ${node.node.slice(0, 8)}, weight ${node.weight}`)
    shown.append(h('title', {}, `${node.node}, weight ${whole(node.weight)}${node.peer_id ? `, height ${whole(node.height)}, ${plural(node.jobs, 'request')}` : ', not connected to this program'}`),
      h('circle', { cx: f(x), cy: f(y), r: f(size) }),
      h('text', { x: f(x + out * Math.cos(angle)), y: f(y + out * Math.sin(angle) + 4), 'text-anchor': anchor }, node.node.slice(0, 8)))
    svg.append(shown)
  })
  return svg
}

const f = value => value.toFixed(1)
