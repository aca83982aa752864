// Builds the page. Law: all text from elsewhere goes in as text; nothing here ever makes markup of it, and characters
// that would move or turn the text beside them are shown as their numbers.
const SVG = 'http://www.w3.org/2000/svg'
const SVG_TAGS = new Set(['svg', 'g', 'path', 'rect', 'line', 'circle', 'text', 'title', 'polyline', 'polygon'])

// as p2p/machine/foreign_text.py has them
const FORBIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g
const clean = value => String(value).replace(FORBIDDEN, one => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** An element. props: attributes; `on…` functions are listeners, `class` may be an array. */
export function h (tag, props = {}, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag)
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else if (name === 'class') node.setAttribute('class', [value].flat().filter(Boolean).join(' '))
    else node.setAttribute(name, value === true ? '' : clean(value))
  }
  node.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false)
    .map(child => child instanceof Node ? child : clean(child)))
  return node
}

// -- numbers and words ---------------------------------------------------------------------------------------------

const WHOLE = new Intl.NumberFormat('en')
export const whole = value => WHOLE.format(value)
export const percent = (part, of) => of ? `${(100 * part / of).toFixed(part === of || part === 0 ? 0 : 1)} %` : '–'

/** Micro-credits: in credits from a thousand on, the exact number on hover. */
export function money (micro) {
  const text = Math.abs(micro) >= 1e6 ? `${WHOLE.format(Math.round(micro / 1e3) / 1e3)} cr` : `${WHOLE.format(micro)} µcr`
  return h('span', { class: 'num', title: `${WHOLE.format(micro)} micro-credits` }, text)
}

export const plural = (count, one, many = one + 's') => `${WHOLE.format(count)} ${count === 1 ? one : many}`

export function span (ms) {
  if (ms === null || ms === undefined) return '–'
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.floor(ms / 1000) % 60} s`
  return `${Math.floor(ms / 3_600_000)} h ${Math.floor(ms / 60_000) % 60} min`
}

const DATE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium', timeZone: 'UTC' })
const relative = ms => {
  const past = Date.now() - ms
  if (past < 1500) return 'just now'
  if (past < 60_000) return `${Math.round(past / 1000)} s ago`
  if (past < 3_600_000) return `${Math.floor(past / 60_000)} min ago`
  if (past < 86_400_000) return `${Math.floor(past / 3_600_000)} h ago`
  return `${Math.floor(past / 86_400_000)} d ago`
}

/** A time: relative, the exact one on hover. */
export function time (ms) {
  if (!ms) return h('span', { class: 'muted', title: 'The time of that block is not here.' }, '–')
  const at = new Date(ms)
  return h('time', { datetime: at.toISOString(), title: `${DATE.format(at)} UTC` }, relative(ms))
}

setInterval(() => {
  for (const node of document.querySelectorAll('time[datetime]')) {
    const text = relative(Date.parse(node.getAttribute('datetime')))
    if (node.textContent !== text) node.textContent = text
  }
}, 1000)

// -- ids ---------------------------------------------------------------------------------------------------------------

const short = (text, keep) => text.length <= keep + 5 ? text : `${text.slice(0, keep)}…${text.slice(-4)}`

const copyIcon = () => h('svg', { class: 'icon', viewBox: '0 0 16 16', 'aria-hidden': 'true' },
  h('rect', { x: 5.5, y: 5.5, width: 8, height: 8, rx: 1.5 }), h('path', { d: 'M10.5 2.5h-6a2 2 0 0 0-2 2v6' }))

/** A monospaced id that copies on click. to: where its link leads. */
export function ident (text, { to, keep = 8, whole: all = false, what = 'id' } = {}) {
  if (!text) return h('span', { class: 'muted' }, '–')
  const shown = all ? text : short(text, keep)
  const copier = h('button', { class: 'copy', type: 'button', title: `Copy ${text}`, 'aria-label': `Copy ${what} ${shown}`,
    onclick: event => copy(text, event.currentTarget) }, to ? copyIcon() : shown)
  if (!to) return h('span', { class: ['id', all && 'whole'] }, copier)
  return h('span', { class: ['id', all && 'whole'] }, h('a', { href: to, title: text }, shown), copier)
}

export async function copy (text, button) {
  try {
    await navigator.clipboard.writeText(text)
  } catch { // on plain HTTP of another machine there is no clipboard
    const area = h('textarea', { class: 'off', 'aria-hidden': 'true' })
    area.value = text
    document.body.append(area)
    area.select()
    document.execCommand('copy')
    area.remove()
  }
  say('Copied')
  button?.classList.add('done')
  setTimeout(() => button?.classList.remove('done'), 900)
}

/** Say something to screen readers, and show it for a moment. */
export function say (text) {
  const live = document.getElementById('live')
  live.textContent = ''
  setTimeout(() => { live.textContent = text }, 30)
}

export const link = {
  block: height => `/explorer/#/blocks/${height}`,
  inference: id => `/explorer/#/inferences/${id}`,
  participant: node => `/explorer/#/participants/${node}`,
  account: id => `/explorer/#/accounts/${id}`
}
export const blockLink = height => height ? h('a', { href: link.block(height), class: 'num' }, whole(height)) : '–'
export const nodeId = node => ident(node, { to: node && link.participant(node), what: 'node' })
export const inferenceId = id => ident(id, { to: link.inference(id), what: 'inference' })
/** The account that a sprint's answers name: nobody's. */
export const SPRINT = '00'.repeat(32)
export const accountId = id => id === SPRINT
  ? h('span', { class: 'muted', title: 'An answer of the sprint: nobody pays for it.' }, 'sprint')
  : ident(id, { to: link.account(id), what: 'account' })

// -- parts of pages ---------------------------------------------------------------------------------------------------

const TONES = {
  VALIDATED: 'good', SETTLED: 'good', UPHELD: 'good', INVALIDATED: 'bad', EXPIRED: 'warn', WITHHELD: 'warn',
  UNCONFIRMED: 'warn', DISPUTED: 'warn', APPEALABLE: 'warn', APPEALED: 'warn'
}
const MEANINGS = {
  STARTED: 'on chain, no answer yet', FINISHED: 'answered, not yet confirmed or drawn for a check',
  VALIDATING: 'a committee checks it', REVEALING: 'the committee shows its verdicts',
  DISPUTED: 'a verdict said invalid; a second committee checks', APPEALABLE: 'lost a dispute; may be appealed',
  APPEALED: 'a third committee checks', VALIDATED: 'checked, and valid', INVALIDATED: 'checked, and not valid',
  EXPIRED: 'not answered or not checked in time', SETTLED: 'stands; nobody was drawn to check it',
  UPHELD: 'stands after a dispute', WITHHELD: 'no committee got its payload', UNCONFIRMED: 'agent and executor disagree'
}
export const badge = (text, tone) => h('span', { class: ['badge', tone] }, text)
export const status = word => h('span', { class: ['badge', TONES[word] ?? 'open'], title: MEANINGS[word] ?? '' },
  word.toLowerCase())

/** columns: [{head, cell, num?, title?}]. empty: what is said where there are no rows, in one piece or several. */
export function table (caption, columns, rows, empty) {
  if (rows.length === 0) return nothing(...[empty ?? 'Nothing yet.'].flat())
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', {},
      h('caption', { class: 'off' }, caption),
      h('thead', {}, h('tr', {}, columns.map(column =>
        h('th', { scope: 'col', class: column.num && 'num', title: column.title }, column.head)))),
      h('tbody', {}, rows.map(row => h('tr', {}, columns.map(column =>
        h('td', { class: column.num && 'num' }, column.cell(row))))))))
}

export const facts = rows => h('dl', { class: 'facts' }, rows.filter(Boolean).map(([name, ...value]) =>
  h('div', {}, h('dt', {}, name), h('dd', {}, ...value))))
export const nothing = (...text) => h('p', { class: 'nothing' }, ...text)
export const panel = (title, ...children) => h('section', { class: 'panel' }, h('h2', {}, title), ...children)
export const tile = (name, value, note) => h('div', { class: 'tile' },
  h('dt', {}, name), h('dd', {}, value, note && h('small', {}, note)))
export const tiles = (...children) => children.some(Boolean) ? h('dl', { class: 'tiles' }, ...children) : null
export const code = text => h('code', {}, text)

export function pager (next, go, what = 'Older') {
  return next === null || next === undefined
    ? null
    : h('p', { class: 'pager' }, h('a', { class: 'button', href: go(next) }, what))
}

export const loading = () => h('div', { class: 'loading', role: 'status' }, h('span', { class: 'off' }, 'Loading'),
  h('i'), h('i'), h('i'))
const sentence = text => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`

/** What failed, and what to do. again: what a click on the button does. */
export function failure (error, again) {
  const missing = error.status === 404 || error.status === 410
  return h('div', { class: ['failure', missing && 'missing'], role: 'alert' },
    h('h2', {}, missing ? 'Not found' : 'This could not be loaded'), h('p', {}, sentence(error.message)),
    h('p', { class: 'muted' }, advice(error.status)),
    again && h('button', { type: 'button', class: 'button', onclick: again }, 'Try again'))
}

function advice (status) {
  if (status === 404) {
    return ['It may not be decided yet, belong to another network, or have a mistake in its id. See ',
      h('a', { href: '/explorer/#/blocks' }, 'all blocks'), ' and ', h('a', { href: '/explorer/#/inferences' }, 'all inferences'),
      ', or search for the first characters of the id.']
  }
  if (status === 0) return ['Start it again: ', code('folkmoot explorer'), ', ', code('folkmoot gateway'), ' or ', code('folkmoot serve --http'), '.']
  if (status === 429) return ['Too much is asked at once. Wait some seconds.']
  if (status >= 500) {
    return ['The program behind this page runs, but no peer answers it. ', code('folkmoot ping ADDRESS'),
      ' says at which step a connection to a peer ends; ', code('--peer ADDRESS'), ' of the program names another peer.']
  }
  return ['Begin at the ', h('a', { href: '/explorer/#/' }, 'overview'), '.']
}
