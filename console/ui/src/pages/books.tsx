import { useLoad } from '../api'
import { full, num, words } from '../format'
import { to } from '../route'
import type { Books as Sheet } from '../types'
import { Ago, Card, Note, Read } from '../ui/basics'

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
            <Card title="Where messages ended">
              <table class="table plain"><caption class="sr">Lines of the books</caption><tbody>{(b.lines ?? []).map((l) => <tr key={l.name}><th scope="row">{words(l.name)}{l.text && <div class="faint">{l.text}</div>}</th><td class="right"><b title={full(l.count)}>{full(l.count)}</b></td></tr>)}</tbody></table>
            </Card>
            <Card title="Dropped, by reason">
              {reasons.length ? <ul class="bars">{reasons.map(([reason, n]) => <li key={reason}><a href={to('events', [], { kind: 'dropped', reason })}><span>{words(reason)}</span><b title={full(n)}>{num(n)}</b><i style={{ width: `${Math.max(1, (n / max) * 100)}%` }} /></a></li>)}</ul> : <p class="faint">No message was dropped.</p>}
            </Card>
          </div>
        </>
      )
    }}</Read>
  )
}
