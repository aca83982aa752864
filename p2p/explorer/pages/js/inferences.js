// The list of inferences.
import {
  accountId, blockLink, code, h, inferenceId, money, nodeId, pager, panel, plural, status, table, time, whole
} from './dom.js'

const FILTERS = [['', 'All'], ['open', 'Not ended'], ['VALIDATED', 'Validated'], ['SETTLED', 'Settled'],
  ['DISPUTED', 'Disputed'], ['INVALIDATED', 'Invalidated'], ['EXPIRED', 'Expired'], ['WITHHELD', 'Withheld']]

export const inferenceColumns = [
  { head: 'Inference', cell: row => inferenceId(row.id) },
  { head: 'Started', cell: row => time(row.start_ms) },
  { head: 'Block', num: true, cell: row => blockLink(row.start_height) },
  { head: 'Status', cell: row => status(row.status) },
  { head: 'Model', cell: row => row.model },
  { head: 'Executor', cell: row => nodeId(row.executor) },
  { head: 'Tokens', num: true, title: 'of prompt and answer', cell: row => `${whole(row.prompt_tokens)} + ${whole(row.output_tokens)}` },
  { head: 'Charged', num: true, cell: row => money(row.charged_micro) },
  { head: 'Verdicts', num: true, title: 'valid and invalid', cell: row => row.valid + row.invalid
    ? [h('span', { class: 'good' }, row.valid), row.invalid ? [' / ', h('span', { class: 'bad' }, row.invalid)] : null]
    : '–' },
  { head: 'Account', cell: row => accountId(row.account) }
]

export async function inferences ({ get, query }) {
  const chosen = query.get('status') ?? ''
  const known = FILTERS.some(([value]) => value === chosen) ? chosen : ''
  const before = query.get('before')
  const page = await get(`inferences?limit=50${known && `&status=${known}`}${before ? `&before=${before}` : ''}`)
  return {
    title: 'Inferences',
    lead: page.kept ? `${plural(page.kept, 'inference')}, from the blocks that this program has read. An older one opens by its id.` : 'From the blocks that this program has read. An older one opens by its id.',
    news: before ? [] : ['inference', 'block'],
    body: [
      h('p', { class: 'filters', role: 'group', 'aria-label': 'Status' }, FILTERS.map(([value, name]) => h('a', {
        class: 'button', href: `/explorer/#/inferences${value && `?status=${value}`}`,
        'aria-current': value === known && 'true'
      }, name))),
      panel(before ? 'Older inferences' : 'Newest inferences',
        table('Inferences', inferenceColumns, page.inferences, known
          ? ['None of these has this status now. ', h('a', { href: '/explorer/#/inferences' }, 'Show all')]
          : ['Nobody has asked anything in these blocks. ', code('folkmoot ask "What is a prime number?"'), ' does.']),
        pager(page.next, next => `/explorer/#/inferences?before=${next}${known && `&status=${known}`}`))
    ]
  }
}
