// How much the broker does and what that costs, over as much time as one likes.
import { useEffect, useMemo, useState } from 'preact/hooks'
import { path, useLoad } from '../api'
import { bytes, num, percent, rate, span, stamp } from '../format'
import * as live from '../live'
import { requery, route, to } from '../route'
import type { Canaries, History, Page } from '../types'
import { Button, Card, Empty, Failure, Figure, Loading } from '../ui/basics'
import { Chart, type Series } from '../ui/chart'
import { delivered } from './delivery'

interface ChartSpec { title: string; format: (v: number) => string; lines: [name: string, metric: string][]; least?: number | 'bytes' }

/** Each line names its metric; those of a counter are per second, and what has labels is summed up. */
const charts: ChartSpec[] = [
  { title: 'Messages per second', format: rate, least: 0.01, lines: [['in', 'messages_received'], ['out', 'messages_sent']] },
  { title: 'Clients connected', format: num, least: 1, lines: [['connected', 'clients_connected']] },
  { title: 'Bytes per second', format: bytes, least: 'bytes', lines: [['in', 'received_bytes'], ['out', 'sent_bytes']] },
  { title: 'Dropped per second', format: rate, least: 0.01, lines: [['dropped', 'messages_dropped']] },
  { title: 'Processor, cores', format: rate, least: 0.01, lines: [['used', 'cpu_cores']] },
  { title: 'Memory', format: bytes, least: 'bytes', lines: [['resident', 'memory_resident_bytes'], ['heap', 'memory_heap_bytes']] },
  { title: 'Event loops, time of a turn', format: span, lines: [['99 of 100', 'loop_lag_p99_seconds'], ['half', 'loop_lag_p50_seconds']] },
  { title: 'Store, time of a commit', format: span, lines: [['99 of 100', 'store_commit_p99_seconds'], ['half', 'store_commit_p50_seconds']] },
  { title: 'Waiting in queues', format: num, least: 1, lines: [['messages', 'queued_messages']] },
  { title: 'Connects per second', format: rate, least: 0.01, lines: [['connects', 'connects'], ['refused', 'connects_refused']] },
  { title: 'Garbage collection, longest stop', format: span, lines: [['99 of 100', 'gc_pause_p99_seconds']] },
  { title: 'Open files and sockets', format: num, least: 1, lines: [['open', 'descriptors_open']] },
]

const ranges: [string, number][] = [['15 min', 900], ['1 h', 3600], ['6 h', 21600], ['1 day', 86400], ['7 days', 604800], ['30 days', 2592000]]

/** Every metric's name, however the server lists them. */
function names(list: Page<string | { metric?: string; name?: string }> | (string | { metric?: string; name?: string })[] | undefined): Set<string> | undefined {
  const items = Array.isArray(list) ? list : list?.items
  if (!items?.length) return undefined
  return new Set(items.map((m) => (typeof m === 'string' ? m : (m.metric ?? m.name ?? ''))))
}

/** The points of each metric, over all its labels. */
export function summed(h: History | undefined): Map<string, [number, number | null][]> {
  const out = new Map<string, Map<number, number | null>>()
  for (const s of h?.series ?? []) {
    const all = out.get(s.metric) ?? new Map<number, number | null>()
    for (const [t, v] of s.points ?? []) all.set(t, v === null ? (all.get(t) ?? null) : (all.get(t) ?? 0) + v)
    out.set(s.metric, all)
  }
  return new Map([...out].map(([m, points]) => [m, [...points].sort((a, b) => a[0] - b[0])]))
}

export function LoadCharts() {
  live.useWatch('load')
  const q = route.value.query
  const length = Number(q.get('span') ?? 3600) || 3600
  const fixed = q.get('from') && q.get('to') ? ([Number(q.get('from')), Number(q.get('to'))] as const) : undefined
  const [now, setNow] = useState(() => Math.floor(Date.now() / 1000))
  useEffect(() => {
    if (fixed) return
    setNow(Math.floor(Date.now() / 1000))
    const t = setInterval(() => { if (!document.hidden) setNow(Math.floor(Date.now() / 1000)) }, Math.max(5000, Math.min(60_000, length * 2)))
    return () => clearInterval(t)
  }, [length, !!fixed])
  const [from, until] = fixed ?? [now - length, now]
  const known = names(useLoad<Page<string>>('/history/metrics').data)
  const pick = (l: [string, string]) => (!known || known.has(l[1]) ? l[1] : undefined)
  const wanted = [...new Set(charts.flatMap((c) => c.lines.map(pick)).filter(Boolean))].join(',')
  const history = useLoad<History>(path('/history', { metric: wanted, from, to: until, step: Math.max(1, Math.ceil((until - from) / 300)) }))
  const [last, setLast] = useState<History | undefined>(undefined)
  useEffect(() => { if (history.data) setLast(history.data) }, [history.data])
  const data = history.data ?? last
  const by = useMemo(() => summed(data), [data])
  const drawn = useMemo(() => charts.map((c) => ({ ...c, series: c.lines.flatMap((l): Series[] => { const m = pick(l), p = m ? by.get(m) : undefined; return p?.length ? [{ name: l[0], points: p }] : [] }) })).filter((c) => c.series.length), [by, wanted])
  const choose = (a: number, b: number) => requery({ from: String(a), to: String(Math.max(b, a + 10)), span: undefined })
  return (
    <>
      <Present />
      <div class="toolbar">
        <div class="seg" role="group" aria-label="How far back">{ranges.map(([t, s]) => <button key={s} aria-pressed={!fixed && s === length} onClick={() => requery({ span: String(s), from: undefined, to: undefined })}>{t}</button>)}</div>
        {fixed ? <><span>{stamp(new Date(from * 1000))} to {stamp(new Date(until * 1000))}</span><Button small onClick={() => { const d = Math.ceil((until - from) / 2); choose(from - d, until + d) }}>Wider</Button><Button small icon="close" onClick={() => requery({ from: undefined, to: undefined })}>Back to now</Button><a href={to('events', [], { since: new Date(from * 1000).toISOString(), until: new Date(until * 1000).toISOString() })}>What happened then</a></>
          : <span class="faint">Drag over a chart to look at a part of it.</span>}
      </div>
      {!data && history.error ? <Failure error={history.error} what="the history of its load" retry={history.reload} /> : !data ? <Loading rows={8} /> : (
        <div class="charts">{drawn.map((c) => <Card key={c.title} title={c.title}><Chart label={c.title} series={c.series} format={c.format} least={c.least} from={from} to={until} choose={choose} /></Card>)}</div>
      )}
      {data && !by.size && <Empty icon="broker" title="Nothing is kept of that time" />}
    </>
  )
}

function Present() {
  const l = live.load.value
  const own = useLoad<Canaries>('/canaries', 10_000).data
  if (!l) return null
  return (
    <div class="figures">
      <Figure name="Processor" value={l.cores ? percent((l.cpu ?? 0) / l.cores) : rate(l.cpu)} sub={<>{rate(l.cpu)} of {l.cores} cores</>} tone={l.cores && (l.cpu ?? 0) / l.cores > 0.85 ? 'warn' : undefined} href={to('clients', [], { sort: '-in_rate' })} />
      <Figure name="Memory" value={bytes(l.memory?.rss)} sub={<>heap {bytes(l.memory?.heap)}{l.memory?.limit ? <> of {bytes(l.memory.limit)}</> : ''}</>} href={to('clients', [], { sort: '-queue_bytes' })} />
      <Figure name="A turn of its loops" value={span(l.loop_lag_seconds?.p99)} sub={<>half within {span(l.loop_lag_seconds?.p50)}</>} href={to('clients', [], { sort: '-out_rate' })} />
      <Figure name="A commit to disk" value={span(l.store?.commit_p99_seconds)} sub={<>{num(l.store?.queue)} waiting</>} href={to('broker', ['store'])} />
      <Figure name="Longest GC stop" value={span(l.gc?.pause_p99_seconds)} sub={l.gc?.cpu !== undefined ? <>{percent(l.gc.cpu)} of the processor</> : undefined} />
      {own?.day_ratio !== undefined && <Figure name="Test messages" value={<span title={own.text}>{delivered(own.day_ratio)}</span>} tone={own.delivers ? undefined : 'bad'} sub={own.canaries?.[0] ? <>there within {span(own.canaries[0].p99_seconds)}</> : own.text} href={to('broker', ['delivery'])} />}
      <Figure name="Files and sockets" value={num(l.fds?.open)} sub={<>of {num(l.fds?.limit)}</>} href={to('broker', ['listeners'])} />
    </div>
  )
}
