// Conversations, kept in this browser. Law: bounded; what cannot be kept any more goes, the oldest first.
const KEY = 'folkmoot-conversations'
const MOST = 50
const MOST_TURNS = 200
const BYTES = 2_000_000

/** {id, title, turns: [{role, text, about?}]}, newest first. */
export function load () {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? '[]')
    return Array.isArray(found) ? found.filter(isOne).slice(0, MOST) : []
  } catch { return [] }
}

const isOne = one => typeof one?.id === 'string' && typeof one.title === 'string' && Array.isArray(one.turns) &&
  one.turns.every(turn => ['user', 'assistant'].includes(turn?.role) && typeof turn.text === 'string')

export function save (all) {
  let kept = all.filter(one => one.turns.length).slice(0, MOST).map(one => ({ ...one, turns: one.turns.slice(-MOST_TURNS) }))
  for (;;) {
    const text = JSON.stringify(kept)
    try {
      if (text.length > BYTES && kept.length > 1) throw new Error('too many')
      localStorage.setItem(KEY, text)
      return
    } catch {
      if (kept.length <= 1) return // this browser keeps nothing; the page itself has it
      kept = kept.slice(0, -1)
    }
  }
}

export const fresh = () => ({ id: Array.from(crypto.getRandomValues(new Uint8Array(12)), byte => byte.toString(16).padStart(2, '0')).join(''), title: 'New conversation', turns: [] })
