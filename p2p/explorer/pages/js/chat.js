// The chat page: pick a model, talk, see who answers and what the network makes of it.
import { ApiError, ask as fetchOk } from './api.js'
import { About } from './about.js'
import { fresh, load, save } from './conversations.js'
import { code, failure, h, money, say } from './dom.js'
import { apiKey, setKey } from './key.js'
import { theme } from './theme.js'

const $ = id => document.getElementById(id)
let conversations = load()
let open = conversations[0] ?? fresh()
let running = null // AbortController of the answer that comes

export const headers = () => apiKey() ? { authorization: `Bearer ${apiKey()}` } : {}

// -- the list ---------------------------------------------------------------------------------------------------------

function list () {
  const all = conversations.includes(open) || !open.turns.length ? conversations : [open, ...conversations]
  $('list').replaceChildren(...all.map(one => h('li', { 'aria-current': one === open && 'true' },
    h('button', { class: 'quiet', type: 'button', title: one.title, onclick: () => choose(one) }, one.title),
    h('button', { class: 'quiet', type: 'button', 'aria-label': `Delete ${one.title}`, onclick: () => remove(one) }, '×'))))
}

function choose (one) {
  running?.abort()
  open = one
  show()
  $('text').focus()
}

function remove (one) {
  if (one === open) running?.abort()
  conversations = conversations.filter(other => other !== one)
  save(conversations)
  if (one === open) open = conversations[0] ?? fresh()
  show()
}

function keep () {
  conversations = [open, ...conversations.filter(one => one !== open)]
  save(conversations)
  list()
}

// -- the conversation -------------------------------------------------------------------------------------------------

let abouts = []
function show () {
  abouts.forEach(about => about.leave())
  abouts = []
  list()
  $('talk').replaceChildren(...(open.turns.length ? open.turns.map(turn) : [welcome()]))
  $('talk').scrollTop = $('talk').scrollHeight
}

function welcome () {
  const tries = ['Explain what a Merkle tree proves.', 'Write a haiku about a village meeting.', 'Name three uses of a beacon.']
  return h('div', { class: 'welcome' }, h('h2', {}, 'Ask the network'),
    h('p', {}, 'A host that is drawn by lot answers. Others check a sample of all answers; what they find appears beside each one.'),
    h('ul', {}, tries.map(text => h('li', {}, h('button', { class: 'button', type: 'button', onclick: () => { $('text').value = text; $('text').focus() } }, text)))))
}

function turn (one) {
  if (one.role === 'user') return h('div', { class: 'turn mine' }, h('p', {}, one.text))
  const text = h('div', { class: 'said' }, one.text)
  const node = h('article', { class: 'turn', 'aria-label': 'Answer' }, text)
  node.text = text
  if (one.error) node.append(h('p', { class: 'broken', role: 'alert' }, one.error))
  if (one.about) {
    const about = new About(one.about, headers, () => save(conversations))
    abouts.push(about)
    node.append(about.node)
  }
  return node
}

function add (one) {
  if (open.turns.length === 1) $('talk').replaceChildren()
  const node = turn(one)
  $('talk').append(node)
  $('talk').scrollTop = $('talk').scrollHeight
  return node
}

// -- asking -----------------------------------------------------------------------------------------------------------

async function send () {
  const text = $('text').value.trim()
  if (!text || running || $('model').disabled) return
  const here = open
  if (!here.turns.length) here.title = text.slice(0, 60)
  here.turns.push({ role: 'user', text })
  add(here.turns.at(-1))
  $('text').value = ''
  grow()
  const messages = here.turns.filter(one => one.text).map(one => ({ role: one.role, content: one.text }))
  const answer = { role: 'assistant', text: '' }
  here.turns.push(answer)
  const node = add(answer)
  node.text.classList.add('runs')
  keep()
  running = new AbortController()
  busy(true)
  const mine = running
  try {
    await stream(here, messages, answer, node, mine.signal)
  } catch (error) {
    if (mine.signal.aborted) answer.error = 'Stopped. What was shown is paid for.'
    else {
      answer.error = error.message
      if (error.status === 401) needKey(error.message)
    }
  }
  if (running === mine) {
    running = null
    busy(false)
  }
  node.text.classList.remove('runs')
  if (open === here) node.replaceWith(turn(answer))
  keep()
  say(answer.error ? 'The answer broke off' : 'The answer is complete')
  balance()
}

async function stream (here, messages, answer, node, signal) {
  const response = await fetchOk('/v1/chat/completions', {
    method: 'POST', signal, limitMs: 24 * 3600_000,
    headers: { ...headers(), 'content-type': 'application/json', 'x-folkmoot-session': here.id },
    body: JSON.stringify({ model: $('model').value, messages, stream: true, stream_options: { include_usage: true }, max_tokens: Math.min(Math.max(Number($('most').value) || 256, 1), 4096) })
  })
  const seen = response.headers.get('x-folkmoot-inference')?.split(',').at(-1)
  answer.about = {
    id: seen ?? '', executor: response.headers.get('x-folkmoot-executor')?.split(',').at(-1) ?? '',
    price: Number(response.headers.get('x-folkmoot-price')) || 0, model: $('model').value, usage: null
  }
  for await (const data of events(response.body)) {
    if (data === '[DONE]') break
    const chunk = JSON.parse(data)
    if (chunk.error) throw new ApiError(chunk.error.message, 502)
    if (chunk.usage) answer.about.usage = { prompt: chunk.usage.prompt_tokens, completion: chunk.usage.completion_tokens }
    const piece = chunk.choices?.[0]?.delta?.content
    if (piece) {
      answer.text += piece
      const near = $('talk').scrollHeight - $('talk').scrollTop - $('talk').clientHeight < 80
      node.text.textContent = answer.text
      if (near) $('talk').scrollTop = $('talk').scrollHeight
    }
    const reason = chunk.choices?.[0]?.finish_reason
    if (reason === 'length') answer.about.cut = true
  }
}

/** The data of server-sent events. */
async function * events (body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    rest += value
    const parts = rest.split('\n\n')
    rest = parts.pop()
    for (const part of parts) {
      const data = part.split('\n').filter(line => line.startsWith('data:')).map(line => line.slice(5).trimStart()).join('\n')
      if (data) yield data
    }
  }
}

function busy (on) {
  $('stop').hidden = !on
  $('send').disabled = on || $('model').disabled
}

// -- models, account, key ---------------------------------------------------------------------------------------------

async function start () {
  $('notice').replaceChildren()
  try {
    const { data } = await (await fetchOk('/v1/models', { headers: headers() })).json()
    const wanted = remembered()
    $('model').replaceChildren(...data.map(one => h('option', { value: one.id, selected: one.id === wanted }, one.id)))
    if (!data.length) $('model').append(h('option', {}, 'No models'))
    $('model').disabled = data.length === 0
    noModel = !data.length
    busy(false)
    await balance()
  } catch (error) {
    $('model').replaceChildren(h('option', {}, 'No models'))
    $('model').disabled = true
    busy(false)
    if (error.status === 401) needKey(error.message)
    else $('notice').replaceChildren(failure(error, start))
  }
}

function remembered () {
  try {
    return localStorage.getItem('folkmoot-model')
  } catch { return null }
}

let noModel = false
function notices (...more) {
  $('notice').replaceChildren(...[noModel && h('p', { class: 'warning' }, 'Nobody serves a model in this network now, so nobody can answer. ', code('folkmoot join NAME --serve MODEL'), ' makes a host of a machine.'), ...more].filter(Boolean))
}

async function balance () {
  try {
    const found = await (await fetchOk('/v1/folkmoot/account', { headers: headers() })).json()
    $('account').replaceChildren('balance ', money(found.balance_micro))
    notices(found.balance_micro <= 0 && h('p', { class: 'warning' }, 'The account of this gateway has no credits. Somebody who has some pays it with: ', code(`folkmoot account transfer ${found.account} MICRO`)))
  } catch { // what fails is said where it matters
    $('account').replaceChildren()
    notices()
  }
}

function needKey (why) {
  const input = h('input', { type: 'password', id: 'key', autocomplete: 'off', maxlength: 256, required: true })
  $('notice').replaceChildren(h('form', {
    class: 'panel', onsubmit: event => { event.preventDefault(); setKey(input.value.trim()); start() }
  }, h('h2', {}, 'This gateway asks for a key'), h('p', { class: 'muted' }, `${why}. It is kept for this tab only.`),
  h('div', { class: 'key' }, h('label', { class: 'off', for: 'key' }, 'Key'), input, h('button', { class: 'button first' }, 'Use it'))))
}

function grow () {
  const area = $('text')
  area.rows = Math.min(Math.max(area.value.split('\n').length, 2), 9)
}

$('ask').addEventListener('submit', event => { event.preventDefault(); send() })
$('text').addEventListener('keydown', event => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault()
    send()
  }
})
$('text').addEventListener('input', grow)
$('stop').addEventListener('click', () => running?.abort())
$('new').addEventListener('click', () => choose(fresh()))
$('model').addEventListener('change', () => {
  try {
    localStorage.setItem('folkmoot-model', $('model').value)
  } catch { /* not kept */ }
})
theme()
show()
start().then(() => { document.body.dataset.ready = 'yes' })
$('text').focus()
