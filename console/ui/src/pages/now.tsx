// Is it fine? And if not: what is it, and what changed?
import { useMemo } from 'preact/hooks'
import { path, useLoad } from '../api'
import { bytes, cli, counted, full, num, percent, rate, span, words } from '../format'
import * as live from '../live'
import { to } from '../route'
import type { Canaries, Fact, Headroom, History, Load, NowReport, Overview, Page } from '../types'
import { Ago, Card, cx, Empty, Failure, Figure, Head, Loading, Meter, Note } from '../ui/basics'
import { FactList } from '../ui/facts'
import { Icon } from '../ui/icons'
import { Spark } from '../ui/spark'
import { delivered } from './delivery'

/** A link of the server's report: a path of the console, with or without its hash. */
const local = (link: string | undefined) => (link && !/^[a-z]+:|^\/\//i.test(link) ? (link.startsWith('#') ? link : '#' + (link.startsWith('/') ? link : '/' + link)) : undefined)

export default function Now() {
  live.useWatch('load')
  const report = useLoad<NowReport>('/now', 5000)
  const status = useLoad<Overview>('/status', 30_000)
  const recent = useLoad<Page<Fact>>(report.error?.missing ? path('/events', { limit: 20 }) : null, 5000)
  const n = report.data
  return (
    <div class="page now">
      <Head title="Now" command={{ path: '/now', cli: cli('top') }} />
      <Verdict report={n} {...(report.error ? { failed: report.error.message } : {})} missing={report.error?.missing} status={status.data} />
      <Figures n={n} />
      <div class="columns">
        <Drops n={n} />
        <Room headroom={n?.headroom} />
      </div>
      <Card title="What changed in the last hour" extra={<a href={to('events')}>All events</a>}>
        {n ? <Changes facts={n.changes ?? []} /> : report.error?.missing ? (recent.data ? <Changes facts={recent.data.items ?? []} /> : recent.error ? <Failure error={recent.error} what="events" /> : <Loading />)
          : report.error ? <Failure error={report.error} what="the last hour" retry={report.reload} /> : <Loading />}
      </Card>
    </div>
  )
}

function Changes({ facts }: { facts: Fact[] }) {
  return facts.length ? <FactList facts={facts} label="Changes of the last hour" /> : <Empty title="Nothing worth telling happened" />
}

function Verdict({ report, failed, missing, status }: { report: NowReport | undefined; failed?: string; missing?: boolean | undefined; status: Overview | undefined }) {
  if (!report && failed && !missing) return <Note tone="bad">How it is could not be read: {failed}</Note>
  // Without the report the health of the process has to do.
  const fine = report ? report.ok : (status?.ready ?? true) && status?.overload.shed !== 'publishes'
  const text = report?.text ?? (status ? (status.ready ? 'The broker is ready.' : `The broker is not ready: ${status.reason}`) : 'Looking …')
  const problems = report?.problems ?? (status?.warnings ?? []).map((w) => ({ severity: 'warning', text: w, link: undefined as string | undefined }))
  // The one problem that is the sentence itself is not said twice.
  const said = problems.length === 1 && problems[0]!.text.replace(/\.$/, '') === text.replace(/\.$/, '') ? problems[0] : undefined
  const where = local(said?.link)
  const grave = !problems.length || problems.some((p) => p.severity === 'critical' || p.severity === 'error')
  return (
    <section class={cx('verdict', !report && !status ? 'calm' : fine ? 'ok' : grave ? 'bad' : 'warn')} aria-label="How it is">
      <Icon name={fine ? 'ok' : 'warn'} size={26} />
      <div>
        <p class="verdict-text">{text}{where && <> <a href={where}>Show</a></>}</p>
        {status && <p class="faint">Version {status.version}, up <Ago at={status.started} /> · {status.promise}</p>}
        {problems.length > 0 && !said && <ul class="problems">{problems.map((p) => {
          const link = local(p.link)
          return <li key={p.text} class={p.severity}><Icon name={p.severity === 'critical' || p.severity === 'error' ? 'bad' : 'warn'} size={16} /><span>{p.text}</span>{link && <a href={link}>Show</a>}</li>
        })}</ul>}
      </div>
    </section>
  )
}

/** The last hour in points, and what was seen here since. */
function useHour(metric: string): number[] {
  const hour = useMemo(() => Math.floor(Date.now() / 1000), [])
  const h = useLoad<History>(path('/history', { metric, from: hour - 3600, to: hour, step: 60 }))
  return useMemo(() => {
    const points = h.data?.series?.[0]?.points ?? []
    return points.map((p) => p[1] ?? 0)
  }, [h.data])
}

function Figures({ n }: { n: NowReport | undefined }) {
  const s = live.stats.value
  const ring = live.ring.value
  const hourIn = useHour('messages_received'), hourOut = useHour('messages_sent'), hourClients = useHour('clients_connected')
  const tail = (hour: number[], pick: (p: live.Point) => number) => (hour.length > 1 ? [...hour, ...(ring.length ? [pick(ring.at(-1)!)] : [])] : ring.map(pick))
  const clients = s?.clients ?? n?.clients
  const normal = n?.clients?.normal
  const low = clients && normal ? clients.connected / normal : undefined
  const r = s?.rates ?? n?.rates
  const own = useLoad<Canaries>('/canaries', 10_000).data
  return (
    <div class="figures">
      <Figure name="Clients online" value={num(clients?.connected)} tone={low !== undefined && low < 0.9 ? 'warn' : undefined} href={to('clients', [], { filter: 'connected:true' })}
        sub={normal ? <>normally {num(normal)}{low !== undefined && Math.abs(low - 1) > 0.02 ? `, ${percent(Math.abs(low - 1))} ${low < 1 ? 'fewer' : 'more'}` : ''}</> : <>{counted(clients?.sessions, 'session')}</>}>
        <Spark values={tail(hourClients, (p) => p.connected)} label="Clients in the last hour" zero={false} />
      </Figure>
      <Figure name="Messages in" value={<>{rate(r?.in_messages)}<small>/s</small></>} sub={<>{bytes(r?.in_bytes)}/s</>} href={to('topics', ['top'])}>
        <Spark values={tail(hourIn, (p) => p.in)} label="Messages in, last hour" />
      </Figure>
      <Figure name="Messages out" value={<>{rate(r?.out_messages)}<small>/s</small></>} sub={<>{bytes(r?.out_bytes)}/s</>} href={to('clients', [], { sort: '-out_rate' })}>
        <Spark values={tail(hourOut, (p) => p.out)} label="Messages out, last hour" tone="second" />
      </Figure>
      <Figure name="Waiting in queues" value={num(s?.queued?.messages)} sub={bytes(s?.queued?.bytes)} href={to('clients', [], { filter: 'queued>0', sort: '-queue_bytes' })} />
      {own && own.interval_seconds > 0 && <Figure name="Test messages" value={delivered(own.day_ratio)} tone={own.delivers ? undefined : 'bad'} sub={own.canaries?.[0] ? <>within {span(own.canaries[0].p99_seconds)}, in 24 h</> : own.text} href={to('broker', ['delivery'])} />}
      <Figure name="Subscriptions" value={num(s?.subscriptions)} sub={<>of {counted(clients?.sessions, 'session')}</>} href={to('clients', [], { sort: '-subscriptions' })} />
      <Figure name="Retained" value={num(s?.retained?.messages)} sub={bytes(s?.retained?.bytes)} href={to('retained')} />
    </div>
  )
}

function Drops({ n }: { n: NowReport | undefined }) {
  const by = n?.dropped_last_hour ?? live.stats.value?.dropped
  const rows = Object.entries(by ?? {}).filter(([, c]) => c > 0).sort((a, b) => b[1] - a[1])
  const max = rows[0]?.[1] ?? 1
  return (
    <Card title={n ? 'Dropped in the last hour' : 'Dropped since the start'} extra={<a href={to('events', [], { kind: 'dropped' })}>Where</a>}>
      {by === undefined ? <Loading rows={3} /> : rows.length === 0 ? <Empty title="No message was dropped" /> : (
        <ul class="bars">{rows.map(([reason, count]) => (
          <li key={reason}><a href={to('events', [], { kind: 'dropped', reason })}><span>{words(reason)}</span><b title={full(count)}>{num(count)}</b><i style={{ width: `${Math.max(1, (count / max) * 100)}%` }} /></a></li>
        ))}</ul>
      )}
    </Card>
  )
}

interface RoomRow { name: string; share: number; text: string; href: string }

function rooms(headroom: Headroom | undefined, load: Load | undefined): RoomRow[] {
  const out: RoomRow[] = []
  const add = (name: string, used: number | undefined, limit: number | undefined, text: string) => { if (used !== undefined && limit) out.push({ name, share: used / limit, text, href: to('broker', ['load']) }) }
  if (load) {
    add('Processor', load.cpu, load.cores, `${rate(load.cpu)} of ${load.cores} cores`)
    add('Memory', load.memory?.rss, load.memory?.limit, `${bytes(load.memory?.rss)} of ${bytes(load.memory?.limit)}`)
    add('Files and sockets', load.fds?.open, load.fds?.limit, `${num(load.fds?.open)} of ${num(load.fds?.limit)}`)
    const d = load.disk
    if (d?.bytes !== undefined && d.free !== undefined && d.free >= 0) add('Disk', d.bytes, d.bytes + d.free, `${bytes(d.bytes)} used, ${bytes(d.free)} free`)
  }
  if (!out.length) {
    for (const [k, v] of Object.entries(headroom ?? {})) {
      if (typeof v === 'number' && v >= 0 && v <= 1) out.push({ name: words(k), share: 1 - v, text: `${percent(v)} free`, href: to('broker', ['load']) })
      else if (typeof v === 'object' && v.used !== undefined && v.limit) out.push({ name: words(k), share: v.used / v.limit, text: v.text ?? `${num(v.used)} of ${num(v.limit)}`, href: to('broker', ['load']) })
    }
  }
  return out
}

function Room({ headroom: reported }: { headroom: Headroom | undefined }) {
  const load = live.load.value, headroom = reported ?? load?.headroom
  const rows = rooms(headroom, load)
  const more = typeof headroom?.['clients'] === 'number' && headroom['clients'] > 1 ? headroom['clients'] : undefined
  const told = typeof headroom?.['text'] === 'string' && headroom['text'] !== '' ? headroom['text'] : undefined
  return (
    <Card title="Headroom" extra={<a href={to('broker', ['load'])}>Load</a>}>
      {rows.length ? <ul class="rooms">{rows.map((r) => <li key={r.name}><a href={r.href}><span>{r.name}</span><span class="faint">{r.text}</span><Meter share={r.share} label={r.name} /></a></li>)}</ul> : <Loading rows={3} />}
      {(more || told) && <p class="faint card-foot">{told ?? `Room for about ${num(more)} more clients like these.`}</p>}
      {load?.loop_lag_seconds?.p99 !== undefined && <p class="faint card-foot">Event loops answer within {span(load.loop_lag_seconds.p99)} (99 of 100){load.store?.commit_p99_seconds ? `, the store commits within ${span(load.store.commit_p99_seconds)}` : ''}.</p>}
    </Card>
  )
}
