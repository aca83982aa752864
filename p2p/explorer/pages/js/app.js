// Which page is shown. Law: one page at a time; what an old page still loads is thrown away. A page loads its own
// module, so that the first one comes fast.
import { get, watch } from './api.js'
import { failure, h, loading } from './dom.js'
import { theme } from './theme.js'

const ROUTES = [
  [/^$/, () => import('./home.js'), 'home'],
  [/^blocks$/, () => import('./blocks.js'), 'blocks'],
  [/^blocks\/(\d{1,10})$/, () => import('./blocks.js'), 'block'],
  [/^inferences$/, () => import('./inferences.js'), 'inferences'],
  [/^inferences\/([0-9a-f]{64})$/, () => import('./story.js'), 'story'],
  [/^participants$/, () => import('./people.js'), 'participants'],
  [/^participants\/([0-9a-f]{64})$/, () => import('./people.js'), 'participant'],
  [/^accounts\/([0-9a-f]{64})$/, () => import('./people.js'), 'account'],
  [/^hosts$/, () => import('./people.js'), 'hosts'],
  [/^epochs$/, () => import('./network.js'), 'epochs'],
  [/^prices$/, () => import('./network.js'), 'prices'],
  [/^consensus$/, () => import('./network.js'), 'consensus'],
  [/^map$/, () => import('./map.js'), 'map'],
  [/^search$/, () => import('./search.js'), 'search']
]
const RETRY_MS = 10_000 // until a page that failed loads itself again
const LEAST_MS = 1000 // between two times that a page is drawn again because of news
const content = document.getElementById('content')
let current = null

function place () {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?')
  return { path, query: new URLSearchParams(query) }
}

async function show ({ scroll = true } = {}) {
  current?.leave()
  const { path, query } = place()
  const route = ROUTES.find(([pattern]) => pattern.test(path))
  const page = current = new Page()
  mark(path.split('/')[0])
  if (!route) {
    page.fail({ status: 410, message: `There is no page ${path}` })
    return
  }
  content.replaceChildren(loading())
  content.setAttribute('aria-busy', 'true')
  if (scroll) scrollTo(0, 0)
  try {
    const module = await route[1]()
    await page.open(module[route[2]], { args: path.match(route[0]).slice(1), query })
  } catch (error) {
    page.fail(error)
  }
}

/** One page from its address to the next one. */
class Page {
  constructor () {
    this.abort = new AbortController()
    this.leavers = []
    this.drawn = 0
    this.timer = 0
  }

  /** view: ({args, query, get, again}) -> {title, lead?, badge?, body, news?}. news: names of events that change it. */
  async open (view, place) {
    this.view = view
    this.place = place
    await this.draw()
    if (this.news?.length) {
      this.leavers.push(watch(name => {
        if (name === 'reset' || this.news.includes(name)) this.soon()
      }))
    }
  }

  async draw () {
    const { signal } = this.abort
    const found = await this.view({
      ...this.place, get: path => get(path, { signal }), again: () => this.retry(),
      leaving: leave => this.leavers.push(leave), signal
    })
    if (signal.aborted) return
    this.news = found.news
    this.drawn = Date.now()
    this.put(found.title, [
      h('div', { class: 'head' }, h('h1', {}, found.heading ?? found.title), found.badge,
        found.lead && h('p', {}, found.lead)), found.body])
  }

  put (title, nodes) {
    if (this.abort.signal.aborted) return
    document.title = `${title} – Folkmoot explorer`
    content.replaceChildren(...nodes.flat().filter(Boolean))
    content.setAttribute('aria-busy', 'false')
    content.dataset.ready = this.drawn || 'failed'
  }

  soon () {
    if (this.timer || this.abort.signal.aborted) return
    this.timer = setTimeout(() => {
      this.timer = 0
      if (this.isInUse()) this.soon()
      else this.draw().catch(error => this.stale(error))
    }, Math.max(LEAST_MS - (Date.now() - this.drawn), 50))
  }

  /** Whether somebody reads with the keyboard or marks text: then nothing moves. */
  isInUse () {
    const at = document.activeElement
    return document.hidden || (at !== content && content.contains(at)) || !getSelection().isCollapsed
  }

  stale () {
    if (!this.abort.signal.aborted) setTimeout(() => this.soon(), 5000) // what is shown stays; the dot says it is old
  }

  async retry () {
    clearTimeout(this.timer)
    this.timer = 0
    content.replaceChildren(loading())
    try {
      await this.open(this.view, this.place)
    } catch (error) {
      this.fail(error)
    }
  }

  fail (error) {
    if (this.abort.signal.aborted) return
    const title = document.querySelector('#nav [aria-current]')?.textContent ?? 'Explorer'
    this.put(title, [h('div', { class: 'head' }, h('h1', {}, title)),
      failure(error, this.view ? () => this.retry() : () => location.reload())])
    if (this.view && !(error.status >= 400 && error.status < 429)) this.timer = setTimeout(() => this.later(error), RETRY_MS)
  }

  /** Load again what failed, by itself: what it says stays until it is better. */
  async later (error) {
    if (this.isInUse()) {
      this.timer = setTimeout(() => this.later(error), RETRY_MS)
      return
    }
    try {
      await this.open(this.view, this.place)
    } catch (newer) {
      this.fail(newer)
    }
  }

  leave () {
    this.abort.abort()
    clearTimeout(this.timer)
    this.leavers.forEach(leave => leave())
  }
}

function mark (first) {
  for (const one of document.querySelectorAll('#nav a')) {
    const here = one.hash === `#/${first}` && one.pathname.startsWith('/explorer')
    if (here) {
      one.setAttribute('aria-current', 'page')
      one.scrollIntoView({ block: 'nearest', inline: 'center' })
    } else one.removeAttribute('aria-current')
  }
}

const field = document.getElementById('q')
document.getElementById('search').addEventListener('submit', event => {
  event.preventDefault()
  if (field.value.trim()) location.hash = `#/search?q=${encodeURIComponent(field.value.trim())}`
})
document.addEventListener('keydown', event => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName)
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault()
    field.focus()
  } else if (event.key === 'Escape' && document.activeElement === field) field.blur()
})
document.querySelector('.skip').addEventListener('click', event => {
  event.preventDefault()
  content.focus()
})
addEventListener('hashchange', () => show())
theme()
watch(() => {}) // from the first page on, so that the dot says whether news come
show()
get('overview').then(found => {
  document.getElementById('network').textContent = found.network
  document.getElementById('chat-link').hidden = !found.chat
}, () => {}) // the page itself says what fails
