// What the network makes of one answer: who gave it, what it cost, the verdict, the proof.
import { ask } from './api.js'
import { h, inferenceId, money, nodeId, say, status } from './dom.js'

const ENDED = new Set(['SETTLED', 'VALIDATED', 'UPHELD', 'INVALIDATED', 'EXPIRED', 'WITHHELD', 'UNCONFIRMED'])
const WORDS = {
  STARTED: 'on chain', FINISHED: 'answered, waiting to be confirmed', VALIDATING: 'being checked', REVEALING: 'verdicts are coming',
  DISPUTED: 'disputed: checked again', SETTLED: 'stands; was not drawn for a check', VALIDATED: 'checked, and valid',
  INVALIDATED: 'checked, and not valid; refunded', UPHELD: 'stands after a dispute', EXPIRED: 'not checked in time; refunded',
  WITHHELD: 'could not be checked; refunded', UNCONFIRMED: 'agent and executor disagree; refunded'
}
const AGAIN_MS = [1000, 1000, 2000, 2000, 3000, 5000, 5000, 10_000]
const TRIES = 60

export class About {
  /** about: {id, executor, price, usage, fate?}, which this fills in. changed: something to keep came. */
  constructor (about, headers, changed) {
    this.about = about
    this.headers = headers
    this.changed = changed
    this.node = h('div', { class: 'about', 'aria-live': 'polite' })
    this.proof = null
    this.timer = 0
    this.tries = 0
    this.draw()
    if (about.id && !ENDED.has(about.fate?.status)) this.look()
  }

  leave () {
    clearTimeout(this.timer)
    this.gone = true
  }

  async look () {
    if (this.gone || this.tries >= TRIES) return
    this.tries++
    try {
      const found = await (await ask(`/v1/folkmoot/inferences/${this.about.id}`, { headers: this.headers() })).json()
      const verdicts = found.verdicts.map(one => one.valid)
      this.about.fate = {
        status: found.status, charged: found.charged_micro, refunded: found.refunded_micro, executor: found.executor,
        valid: verdicts.filter(Boolean).length, invalid: verdicts.filter(one => !one).length, reason: found.reason
      }
      if (ENDED.has(found.status)) this.changed()
    } catch { /* not on chain yet, or nobody answers now: look again */ }
    if (this.gone) return
    this.draw()
    if (!ENDED.has(this.about.fate?.status)) {
      this.timer = setTimeout(() => this.look(), AGAIN_MS[Math.min(this.tries, AGAIN_MS.length - 1)])
    }
  }

  draw () {
    const { id, executor, price, usage, fate, cut } = this.about
    const cost = fate?.charged ? fate.charged - fate.refunded : usage && price * (usage.prompt + usage.completion)
    const item = (name, ...value) => h('span', {}, h('span', { class: 'name' }, name), ...value)
    const parts = [
      item('answered by', nodeId(fate?.executor || executor)),
      h('span', { class: 'verdict' }, h('span', { class: 'name' }, 'verdict'), fate ? [status(fate.status), ' ', h('small', {}, WORDS[fate.status] ?? '', fate.valid + fate.invalid > 0 ? ` (${fate.valid} of ${fate.valid + fate.invalid} say valid)` : '')] : h('small', {}, 'waiting for the chain')),
      cost ? item('cost', money(Math.max(cost, 0))) : null,
      usage && item('tokens', `${usage.prompt} + ${usage.completion}`, cut && ' (cut at the bound)'),
      id && item('inference', inferenceId(id)),
      id && h('button', { class: 'button prove', type: 'button', onclick: () => this.prove() }, 'prove it'),
      this.proof
    ]
    this.node.replaceChildren(...parts.filter(Boolean))
  }

  async prove () {
    const name = `${this.about.id.slice(0, 12)}.proof`
    try {
      const answer = await ask(`/v1/folkmoot/inferences/${this.about.id}/proof`, { headers: this.headers() })
      const url = URL.createObjectURL(await answer.blob())
      const anchor = h('a', { href: url, download: name })
      anchor.click()
      setTimeout(() => URL.revokeObjectURL(url), 10_000)
      this.proof = h('div', { class: 'proof' }, h('p', { class: 'muted' }, `${name} is downloaded. It holds the question, the answer and all signatures. Check it with your own copy of the model:`),
        h('pre', { class: 'command', tabindex: 0 }, `folkmoot verify ${name} --model FOLDER`),
        h('p', { class: 'muted' }, 'With ', h('code', {}, '--peer MULTIADDR'), ' it is compared with the chain too.'))
      say('The proof is downloaded')
    } catch (error) {
      this.proof = h('p', { class: 'proof bad', role: 'alert' }, error.message)
    }
    this.draw()
  }
}
