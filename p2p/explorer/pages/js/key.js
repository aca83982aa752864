// The gateway's key, where one is set. Law: kept for this tab only, and sent to this port only.
const NAME = 'folkmoot-key'

export function apiKey () {
  try {
    return sessionStorage.getItem(NAME) ?? ''
  } catch { return memory }
}

let memory = ''
export function setKey (key) {
  memory = key
  try {
    if (key) sessionStorage.setItem(NAME, key)
    else sessionStorage.removeItem(NAME)
  } catch { /* memory has it */ }
}
