// The chart of an answer's tokens, where its artifact is at hand: from this gateway's own memory, or from a file.
import { ask } from './api.js'
import { bars } from './charts.js'
import { SPRINT, facts, h, nothing, panel, plural, table, whole } from './dom.js'
import { apiKey } from './key.js'
import { gap, readProof } from './proof.js'

const SHOWN = 2000

export function tokensPanel (id, { it, signal }) {
  const body = h('div', {}, nothing('Looking for the artifact …'))
  const show = bytes => {
    try {
      body.replaceChildren(...chart(readProof(bytes), id, it))
    } catch (error) {
      body.replaceChildren(h('p', { class: 'bad', role: 'alert' }, `This file is no proof of an answer: ${error.message}.`), chooser(show))
    }
  }
  fetchOwn(id, signal).then(found => found ? show(found) : body.replaceChildren(
    ...(it.account === SPRINT
      ? [nothing('The numbers of each token are in the answer’s artifact, which peers of the committee alone have.')]
      : [h('p', {}, 'The numbers of each token are in the answer’s artifact. Whoever asked has it, and nobody else: no peer gives it to strangers.'), chooser(show)])
  ))
  return panel('Tokens', body)
}

/** The proof, where the gateway on this port asked for this answer; else null. */
async function fetchOwn (id, signal) {
  try {
    const key = apiKey()
    const answer = await ask(`/v1/folkmoot/inferences/${id}/proof`, { signal, headers: key ? { authorization: `Bearer ${key}` } : {} })
    return new Uint8Array(await answer.arrayBuffer())
  } catch {
    return null
  }
}

function chooser (show) {
  const input = h('input', { type: 'file', id: 'proof-file', class: 'off', onchange: async () => input.files[0] && show(await bytesOf(input.files[0])) })
  const box = h('div', { class: 'drop',
    ondragover: event => { event.preventDefault(); box.classList.add('over') },
    ondragleave: () => box.classList.remove('over'),
    ondrop: async event => {
      event.preventDefault()
      box.classList.remove('over')
      if (event.dataTransfer.files[0]) show(await bytesOf(event.dataTransfer.files[0]))
    } },
  h('label', { for: 'proof-file', class: 'button' }, 'Open a proof'), input,
  h('p', {}, 'of ', h('code', {}, 'folkmoot ask --save'), ' or of the chat page. It stays in this browser.'))
  return box
}

const bytesOf = async file => new Uint8Array(await file.arrayBuffer())

function chart (proof, id, it) {
  const right = proof.inferenceId === id
  const bound = proof.rootMatches && (!it.artifact_root || it.artifact_root === proof.root)
  const rows = proof.rows.slice(0, SHOWN)
  const others = proof.rows.filter(row => row.rank !== 0).length
  const mean = proof.rows.reduce((sum, row) => sum + row.logprob, 0) / Math.max(proof.rows.length, 1)
  const name = (row, at) => `Token ${at + 1}, id ${row.token}: ${gap(row).toFixed(2)} nats ahead; chosen ${row.rank === 0 ? 'was the likeliest' : row.rank > 0 ? `had rank ${row.rank + 1}` : 'was not among the likeliest 8'}, log-probability ${row.logprob.toFixed(2)}`
  return [
    !right && h('p', { class: 'warning', role: 'alert' }, `This proof is of another answer: ${proof.inferenceId.slice(0, 12)}…`),
    facts([
      ['Artifact', bound && proof.outputMatches
        ? h('span', { class: 'good' }, '✓ hashes to the root on chain')
        : h('span', { class: 'bad' }, '✗ does not hash to the root on chain')],
      ['Computed on', proof.stack], ['Mean log-probability', mean.toFixed(3)],
      ['Not the likeliest', `${whole(others)} of ${plural(proof.rows.length, 'token')}`]
    ]),
    h('h3', {}, 'Margin of each token: how far the likeliest candidate was ahead of the next, in nats'),
    rows.length
      ? bars(rows.map((row, at) => ({ value: Math.min(gap(row), 10), tone: row.rank === 0 ? '' : row.rank > 0 ? 'warn' : 'bad', title: name(row, at) })),
        { label: `Margins of ${rows.length} tokens; ${others} were not the likeliest`, height: 136, least: 1, first: 'token 1', last: `token ${whole(rows.length)}` })
      : nothing('The answer has no tokens.'),
    h('ul', { class: 'legend' }, h('li', {}, h('i'), 'the likeliest was chosen'), h('li', {}, h('i', { class: 'warn' }), 'another of the likeliest 8'),
      others > 0 && h('li', {}, h('i', { class: 'bad' }), 'one that is less likely still')),
    h('p', { class: 'muted' }, 'Sampling takes less likely tokens now and then; that alone is no fault. Validators judge whether each token is the one that the request’s seed gives.'),
    h('details', {}, h('summary', {}, 'As a table'), table('Tokens', [
      { head: '#', cell: row => row.at + 1 }, { head: 'Token id', num: true, cell: row => whole(row.token) },
      { head: 'Log-probability', num: true, cell: row => row.logprob.toFixed(3) },
      { head: 'Rank', num: true, cell: row => row.rank < 0 ? '> 8' : row.rank + 1 },
      { head: 'Margin', num: true, cell: row => gap(row).toFixed(2) }
    ], rows.slice(0, 200).map((row, at) => ({ ...row, at })))),
    h('details', {}, h('summary', {}, 'The answer’s text'), h('div', { class: 'answer-text', tabindex: 0 }, proof.text))
  ].filter(Boolean)
}
