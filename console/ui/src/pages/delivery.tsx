// Whether the broker delivers, and how soon: its own test messages, at each QoS, the whole way that a device's go.
import { useLoad } from '../api'
import { full, num, span } from '../format'
import { to } from '../route'
import type { Canaries, CanaryFigures } from '../types'
import { Ago, At, Badge, Card, Empty, Figure, Note, Read } from '../ui/basics'

/** A share of deliveries; what is not all never reads as all. */
export const delivered = (share: number) => (share >= 1 ? '100 %' : `${(Math.floor(share * 10_000) / 100).toFixed(2)} %`)

/** An objective as it was set. */
const share = (ratio: number) => `${Number((ratio * 100).toFixed(6))} %`

export function Delivery() {
  const report = useLoad<Canaries>('/canaries', 2000)
  return (
    <Read from={report} what="the own test messages">{(r) => r.interval_seconds === 0 || !r.canaries?.length ? <Empty icon="broker" title="No test messages are sent">Their interval is 0 (canaries.interval), so that nobody measures whether messages arrive.</Empty> : (
      <>
        <Note tone={r.delivers ? 'ok' : 'bad'}>{r.text}</Note>
        <div class="figures">
          {!!r.objective && <Figure name="Objective, 24 h" value={share(r.objective)} tone={r.objective_met === false ? 'bad' : undefined} sub={r.objective_met === false ? 'missed at the worst QoS' : 'met at every QoS'} href={to('broker', ['config'], { filter: 'canaries.objective', which: 'all' })} />}
          {r.canaries.map((c) => <Figure key={c.qos} name={`QoS ${c.qos} delivered, 24 h`} value={delivered(c.day_ratio)} tone={c.day_ratio < (r.objective ?? 0.999) ? 'bad' : c.day_ratio < 1 ? 'warn' : undefined} sub={<>{num(c.sent)} sent, {num(c.lost)} lost{c.late ? `, ${num(c.late)} of them late` : ''}</>} />)}
          {r.canaries.map((c) => <Figure key={'t' + c.qos} name={`QoS ${c.qos} takes`} value={span(c.p50_seconds)} sub={<>99 of 100 within {span(c.p99_seconds)}</>} />)}
        </div>
        <div class="columns">{r.canaries.map((c) => <Card key={c.qos} title={`How soon, QoS ${c.qos}`} extra={<span class="faint">last {span(c.last_seconds)}</span>}><Histogram c={c} /></Card>)}</div>
        <Card title="When messages were lost">
          {r.outages?.length ? (
            <div class="table-scroll" tabIndex={0} role="region" aria-label="Outages"><table class="table plain">
              <caption class="sr">Times in which test messages were lost</caption>
              <thead><tr><th scope="col">From</th><th scope="col">For</th><th scope="col">QoS</th><th scope="col" class="right">Lost</th><th scope="col">Why</th></tr></thead>
              <tbody>{r.outages.map((o) => <tr key={o.from}><td><a href={to('events', [], { since: o.from, ...(o.to ? { until: o.to } : {}) })}><At at={o.from} /></a></td><td>{o.to ? span((Date.parse(o.to) - Date.parse(o.from)) / 1000) : <Badge tone="bad">it lasts</Badge>}</td><td>{o.qos.join(', ')}</td><td class="right">{num(o.lost)}</td><td class="wrap">{o.why}</td></tr>)}</tbody>
            </table></div>
          ) : <p class="faint">None was lost{r.since && <> in <Ago at={r.since} /></>}.</p>}
        </Card>
        <p class="faint">Every {span(r.interval_seconds)} one message at QoS 0, every tenth time also at QoS 1 and 2, which are stored. One that is not there after {span(r.timeout_seconds)} counts as lost.</p>
      </>
    )}</Read>
  )
}

/** From the first to the last bucket that has something, with one empty one on each side. */
function Histogram({ c }: { c: CanaryFigures }) {
  const all = c.histogram ?? []
  const from = all.findIndex((b) => b.count > 0), until = all.findLastIndex((b) => b.count > 0)
  if (from < 0) return <p class="faint">Nothing was delivered yet.</p>
  const shown = all.slice(Math.max(0, from - 1), until + 2)
  const max = Math.max(...shown.map((b) => b.count)), sum = all.reduce((n, b) => n + b.count, 0)
  return (
    <ul class="histogram" aria-label={`Deliveries at QoS ${c.qos} by the time that they took`}>{shown.map((b) => (
      <li key={b.up_to_seconds ?? 'more'} title={`${full(b.count)} of ${full(sum)}`}>
        <span>{b.up_to_seconds ? `≤ ${span(b.up_to_seconds)}` : 'longer'}</span>
        <i><b style={{ width: `${b.count ? Math.max(0.6, (b.count / max) * 100) : 0}%` }} /></i>
        <span>{num(b.count)}</span>
      </li>
    ))}</ul>
  )
}
