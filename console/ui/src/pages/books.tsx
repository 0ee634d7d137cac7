import { useLoad } from '../api'
import { full, num, words } from '../format'
import { to } from '../route'
import type { BooksLine, Books as Sheet } from '../types'
import { Ago, Card, Note, Read } from '../ui/basics'

/** The two accounts: what was published, and what was made of that for receivers. Each side of one has the same sum. */
const accounts = [
  ['messages', 'Messages, as they were published', [['in', 'Came in'], ['out', 'Ended as']]],
  ['copies', 'Copies, one for each receiver', [['in', 'Were made'], ['out', 'Ended as'], ['stock', 'Are under way'], ['beside', 'Besides']]],
] as const

/** The list behind a line: who sent, got or has what it counts, or the events that tell of it. */
function behind(l: BooksLine): string | undefined {
  const [name, reason] = l.name.split(': ') as [string, string?]
  switch (name) {
    case 'received': return to('clients', [], { sort: '-in' })
    case 'wills': return to('events', [], { kind: 'will_sent' })
    case 'own': return to('topics', [], { topic: '$SYS' })
    case 'routed': return to('topics', ['top'], { by: 'messages' })
    case 'unheard': return to('topics', ['unheard'])
    case 'denied': return to('security', ['denials'])
    case 'refused': return to('events', [], { kind: 'limited' })
    case 'copies': return to('topics', ['top'], { by: 'copies' })
    case 'sent': case 'acknowledged': case 'sent again': return to('clients', [], { sort: '-out' })
    case 'dropped': case 'not retained': return to('events', [], { kind: 'dropped,limited', reason: reason?.replace(/ /g, '_') })
    case 'unacknowledged': return to('events', [], { kind: 'session_ended' })
    case 'queued': return to('clients', [], { filter: 'queued>0', sort: '-queued' })
    case 'recovered after a crash': case 'lost at a stop': case 'queued at the start': return to('events', [], { kind: 'started' })
    default: return undefined
  }
}

/** Where every message ended. */
export function Books() {
  const books = useLoad<Sheet>('/books', 3000)
  return (
    <Read from={books} what="the books">{(b) => {
      const reasons = Object.entries(b.by_reason ?? {}).filter(([, n]) => n > 0).sort((x, y) => y[1] - x[1])
      const max = reasons[0]?.[1] ?? 1
      return (
        <>
          <Note tone={b.balanced ? 'ok' : 'bad'}>{b.balanced ? 'The books balance: every copy of every message is accounted for.' : `The books do not balance: ${full(b.imbalance)} copies are unaccounted for. This is an error of the broker; please report it.`} Checked <Ago at={b.checked} past />{b.since && <>, counted for <Ago at={b.since} /></>}.</Note>
          <div class="columns">
            {accounts.map(([of, title, sides]) => <Account key={of} title={title} sides={sides} lines={(b.lines ?? []).filter((l) => (l.of ?? 'copies') === of)} />)}
            <Card title="Dropped, denied and refused, by reason">
              {reasons.length ? <ul class="bars">{reasons.map(([reason, n]) => <li key={reason}><a href={reason.startsWith('denied') ? to('security', ['denials']) : to('events', [], { kind: 'dropped,limited', reason })}><span>{words(reason)}</span><b title={full(n)}>{num(n)}</b><i style={{ width: `${Math.max(1, (n / max) * 100)}%` }} /></a></li>)}</ul> : <p class="faint">No message was lost.</p>}
            </Card>
          </div>
        </>
      )
    }}</Read>
  )
}

function Account({ title, sides, lines }: { title: string; sides: readonly (readonly [string, string])[]; lines: BooksLine[] }) {
  return (
    <Card title={title}>
      <table class="table plain dense"><caption class="sr">{title}</caption>{sides.map(([side, name]) => {
        const of = lines.filter((l) => (l.side ?? 'in') === side)
        return of.length > 0 && (
          <tbody key={side}>
            <tr><th scope="rowgroup" class="strong">{name}</th><td class="right">{side !== 'beside' && <b title="The sum">{full(of.reduce((sum, l) => sum + l.count, 0))}</b>}</td></tr>
            {of.map((l) => <tr key={l.name} class={l.count === 0 ? 'faint' : undefined}><th scope="row" class="indent">{words(l.name)}{l.text && <div class="faint">{l.text.replace(/, see by_reason$/, '')}</div>}</th><td class="right">{l.count !== 0 && behind(l) ? <a href={behind(l)}>{full(l.count)}</a> : full(l.count)}</td></tr>)}
          </tbody>
        )
      })}</table>
    </Card>
  )
}
