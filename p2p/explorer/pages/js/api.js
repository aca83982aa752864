// Asks the API, and listens to its events. Law: every question has a time limit; a failure says why.
const API = '/explorer/api/'
const LIMIT_MS = 15_000

export class ApiError extends Error {
  constructor (message, status) {
    super(message)
    this.status = status
  }
}

/** The JSON of a path. Throws ApiError. */
export async function get (path, options = {}) {
  return await (await ask(API + path, options)).json()
}

export async function ask (url, options = {}) {
  let answer
  const limit = AbortSignal.timeout(options.limitMs ?? LIMIT_MS)
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit
  try {
    answer = await fetch(url, { ...options, signal })
  } catch (error) {
    if (options.signal?.aborted) throw error
    throw new ApiError('The program behind this page does not answer. It may have ended, or the connection is lost.', 0)
  }
  if (!answer.ok) throw new ApiError(await reason(answer), answer.status)
  return answer
}

async function reason (answer) {
  try {
    const { error } = await answer.json()
    return error.param ? error.message.replace(`${error.param}: `, '') : error.message // the name of a field tells a reader nothing
  } catch {
    return `The answer was ${answer.status} ${answer.statusText}.`
  }
}

const watchers = new Set()
let source = null
const NAMES = ['block', 'inference', 'prices', 'peers', 'reset']

/** Calls `told(name, data)` for each event until the function that comes back is called. */
export function watch (told) {
  watchers.add(told)
  open()
  return () => watchers.delete(told)
}

// A browser has six connections to a host for all its tabs together, and each stream of events takes one. So only a page
// that is looked at has one, and a page that comes back loads what it missed.
for (const name of ['visibilitychange', 'pagehide', 'pageshow']) {
  window.addEventListener(name, event => isSeen(event.type) ? comeBack() : leave(), true)
}

function isSeen (event) {
  return event !== 'pagehide' && document.visibilityState === 'visible'
}

function comeBack () {
  if (source || watchers.size === 0) return
  open()
  for (const told of [...watchers]) told('reset', {})
}

function leave () {
  source?.close()
  source = null
}

function open () {
  if (source || !isSeen('')) return
  source = new EventSource(API + 'events')
  for (const name of NAMES) {
    source.addEventListener(name, event => {
      let data
      try {
        data = JSON.parse(event.data)
      } catch { return }
      for (const told of [...watchers]) told(name, data)
    })
  }
  source.onopen = () => state(true)
  source.onerror = () => {
    state(false)
    if (source?.readyState === EventSource.CLOSED) { // refused: too many others watch
      source = null
      setTimeout(open, 10_000)
    }
  }
}

function state (on) {
  const dot = document.getElementById('feed')
  if (!dot) return
  dot.className = on ? 'on' : 'off-line'
  dot.textContent = on ? 'live' : 'not live'
}
