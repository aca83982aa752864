// Light or dark: the system's choice, until the reader makes one.
const KEY = 'folkmoot-theme'
const dark = matchMedia('(prefers-color-scheme: dark)')

function chosen () {
  try {
    return localStorage.getItem(KEY)
  } catch { return null }
}

function apply () {
  document.documentElement.dataset.theme = chosen() ?? (dark.matches ? 'dark' : 'light')
}

export function theme () {
  apply()
  dark.addEventListener('change', apply)
  document.getElementById('theme').addEventListener('click', () => {
    const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'
    try {
      localStorage.setItem(KEY, next)
    } catch { /* not kept; it holds until the page is left */ }
    document.documentElement.dataset.theme = next
  })
}
