// One client: why it is as it is, what happened to it, and what its session holds.
import type { ComponentChildren } from 'preact'
import { can, path, seg, useLoad } from '../api'
import { bytes, cli, counted, num, rate, span, term, words } from '../format'
import { requery, route, to } from '../route'
import type { ClientDetail, Fact, Page, Subscription, TraceLine, Why } from '../types'
import { Act, Ago, Badge, Button, Card, cx, Dot, Empty, Facts, Figure, Head, Meter, Note, Read, Tabs } from '../ui/basics'
import { FactList } from '../ui/facts'
import { Lines } from '../ui/lines'
import { WhyAnswer } from '../ui/why'
import { AskAbout } from './ask'
import { ban, disconnect, endSession, quarantine } from './client-acts'
import { Inflights, Queue } from './queue'

const tabs = [['overview', 'Overview'], ['events', 'Timeline'], ['subscriptions', 'Subscriptions'], ['inflight', 'Inflight'], ['queue', 'Queue'], ['trace', 'Look back']] as const

export function ClientPage({ id, tab }: { id: string; tab: string }) {
  const client = useLoad<ClientDetail>(`/clients/${seg(id)}`, 2000)
  const c = client.data
  const gone = client.error?.status === 404
  return (
    <div class={cx('page', tab !== 'overview' && 'full')}>
      <Head back={{ href: to('clients'), text: 'Clients' }}
        title={<span class="with-dot">{c && <Dot tone={c.connected ? 'ok' : 'calm'} label={c.connected ? 'connected' : 'offline'} />}<span class="clip" title={id}>{id}</span></span>}
        sub={c && <>{c.connected ? <>connected <Ago at={c.since} /></> : <>offline <Ago at={c.since ?? c.seen} /></>}{c.user ? <> · {c.user}</> : ' · anonymous'}{c.address && <> · <span class="mono">{c.address}</span></>}{c.quarantined && <> · <Badge tone="warn">quarantined</Badge></>}{c.listener?.startsWith('$') && <> · <Badge title="It is not counted among the clients">the broker’s own</Badge></>}</>}
        command={[{ path: `/clients/${seg(id)}`, cli: cli('clients show', [id]) }, { what: 'Why it is as it is', path: `/clients/${seg(id)}/why`, cli: cli('why', [id]) }]}>
        {c && <>
          {c.connected && <Act onClick={() => disconnect(c, client.reload)}>Disconnect</Act>}
          {can('operator') && <Button onClick={() => quarantine(c, client.reload)}>Quarantine</Button>}
          <Act onClick={() => ban(c, client.reload)}>Ban</Act>
          {!c.connected && <Act kind="danger" onClick={() => endSession(c, client.reload)}>End session</Act>}
        </>}
      </Head>
      <Tabs label="Parts of the client" active={tab} tabs={tabs.map(([t, title]) => ({ id: t, href: to('clients', [id, t]), title: <>{title}{badge(t, c)}</> }))} />
      {gone && tab !== 'events' ? <><Note>The broker knows no such client at present: it never connected, or its session ended. What happened to it is in its timeline.</Note><Timeline id={id} /></> : <Part id={id} tab={tab} client={client} />}
    </div>
  )
}

function badge(tab: string, c: ClientDetail | undefined): ComponentChildren {
  const n = tab === 'subscriptions' ? c?.subscriptions : tab === 'inflight' ? c?.inflight : tab === 'queue' ? c?.queued : undefined
  return n ? <span class="count">{num(n)}</span> : null
}

function Part({ id, tab, client }: { id: string; tab: string; client: ReturnType<typeof useLoad<ClientDetail>> }) {
  switch (tab) {
    case 'events': return <Timeline id={id} />
    case 'subscriptions': return <Read from={client} what="the client">{(c) => <Subscriptions id={id} client={c} />}</Read>
    case 'inflight': return <Inflights id={id} />
    case 'queue': return <Queue id={id} changed={client.reload} />
    case 'trace': return <LookBack id={id} />
    default: return <Read from={client} what="the client">{(c) => <Overview c={c} />}</Read>
  }
}

function WhyCard({ id }: { id: string }) {
  const why = useLoad<Why>(`/clients/${seg(id)}/why`, 5000)
  if (why.error?.missing || (why.error?.status === 503 && !why.data)) return null
  return (
    <Card title="Why" class="why">
      <Read from={why} what="the reason" rows={2}>{(w) => <WhyAnswer why={w} without="client" />}</Read>
      <AskAbout client={id} />
    </Card>
  )
}

/** What a limit counts is in its name. */
const amount = (name: string, n: number) => (/bytes|size/.test(name) ? bytes(n) : num(n))

function Overview({ c }: { c: ClientDetail }) {
  const dropped = Object.entries(c.dropped_by ?? {}).filter(([, n]) => n > 0)
  return (
    <>
      <WhyCard id={c.id} />
      <div class="figures">
        <Figure name="From it" value={<>{rate(c.in?.rate)}<small>/s</small></>} sub={<>{counted(c.in?.messages, 'message')}, {bytes(c.in?.bytes)}</>} href={to('clients', [c.id, 'trace'])} />
        <Figure name="To it" value={<>{rate(c.out?.rate)}<small>/s</small></>} sub={<>{counted(c.out?.messages, 'message')}, {bytes(c.out?.bytes)}</>} href={to('clients', [c.id, 'subscriptions'])} />
        <Figure name="In its queue" value={num(c.queued)} sub={bytes(c.queue_bytes)} href={to('clients', [c.id, 'queue'])} tone={(c.queued ?? 0) > 1000 ? 'warn' : undefined} />
        <Figure name="Inflight" value={num(c.inflight)} sub="not acknowledged" href={to('clients', [c.id, 'inflight'])} />
        <Figure name="Dropped" value={num(c.dropped)} sub={<>{num(c.denied)} denied</>} href={to('events', [], { client: c.id, kind: 'dropped' })} tone={c.dropped ? 'bad' : undefined} />
      </div>
      <div class="columns">
        <Card title="Connection">
          <Facts rows={[
            ['Address', c.address ? <span class="mono">{c.address}</span> : 'not known'], ['Listener', c.listener ? <a href={to('clients', [], { filter: `listener:${term(c.listener)}` })}>{c.listener}</a> : 'not known'], ['Protocol', <>MQTT {c.protocol ?? 'not known'}{c.tls === undefined ? ', TLS not known' : c.tls ? ', TLS' : ', without TLS'}</>],
            ['User', c.user ?? 'anonymous'], !!c.groups?.length && ['Groups', c.groups.join(', ')], !!c.software && ['Software', c.software],
            ['Keep alive', c.keep_alive_seconds === undefined ? 'not known' : c.keep_alive_seconds ? span(c.keep_alive_seconds) : 'off'], ['Session kept', c.session_expiry_seconds === undefined ? '–' : c.session_expiry_seconds < 0 ? 'for ever' : c.session_expiry_seconds === 0 ? 'while connected' : span(c.session_expiry_seconds)],
            ['Clean start', c.clean_start === undefined ? 'not known' : c.clean_start ? 'yes' : 'no'], !!c.pending_bytes && ['Waits for its socket', bytes(c.pending_bytes)], ['Last heard', <Ago at={c.seen} />],
          ]} />
        </Card>
        <Card title="Limits">
          {c.limits?.length ? <ul class="rooms">{c.limits.map((l) => <li key={l.name}><div><span>{words(l.name)}</span><span class="faint">{amount(l.name, l.used)} of {amount(l.name, l.limit)}</span>{l.limit > 0 && <Meter share={l.used / l.limit} label={words(l.name)} />}</div></li>)}</ul> : <p class="faint">No limit is told.</p>}
        </Card>
        <Card title="Messages">
          <Facts rows={[
            ['QoS 0, 1, 2 from it', c.qos ? c.qos.in.map(num).join(' · ') : '–'], ['QoS 0, 1, 2 to it', c.qos ? c.qos.out.map(num).join(' · ') : '–'],
            ...dropped.map(([reason, n]) => [<>Dropped: {words(reason)}</>, <a class="bad-text" href={to('events', [], { client: c.id, kind: 'dropped', reason })}>{num(n)}</a>] as const),
            ['Will', c.will ? <><a href={to('topics', [], { topic: c.will.topic })}>{c.will.topic}</a> <span class="faint">QoS {c.will.qos}, {bytes(c.will.size)}{c.will.retain ? ', retained' : ''}{c.will.delay_seconds ? `, after ${span(c.will.delay_seconds)}` : ''}</span></> : 'none'],
          ]} />
        </Card>
      </div>
    </>
  )
}

function Timeline({ id }: { id: string }) {
  const kind = route.value.query.get('kind') ?? ''
  const events = useLoad<Page<Fact>>(path('/events', { client: id, kind, limit: 200 }), 3000)
  return (
    <Card title="What happened" extra={kind ? <button class="link" onClick={() => requery({ kind: undefined })}>All kinds</button> : <a href={to('events', [], { client: id })}>In events</a>} class="scroll">
      <Read from={events} what="events">{(p) => p.items?.length ? <FactList facts={p.items} without="client" label={`Events of ${id}`} /> : <Empty title="Nothing is known of it" />}</Read>
    </Card>
  )
}

function Subscriptions({ id, client }: { id: string; client: ClientDetail }) {
  const filters = client.filters
  if (!filters?.length) return <Empty icon="topics" title="It subscribes to nothing" />
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Subscriptions">
      <table class="table plain">
        <caption class="sr">Subscriptions of {id}</caption>
        <thead><tr><th scope="col">Filter</th><th scope="col">QoS</th><th scope="col">Retained</th><th scope="col">Options</th></tr></thead>
        <tbody>{filters.map((f) => <SubscriptionRow key={f.filter} s={f} />)}</tbody>
      </table>
    </div>
  )
}

function SubscriptionRow({ s }: { s: Subscription }) {
  const handling = ['at subscribe', 'if it is new', 'none'][s.retain_handling ?? 0]
  return (
    <tr>
      <td class="mono wrap">{s.group && <Badge tone="accent" title="Shared">{s.group}</Badge>} {s.filter}</td>
      <td>{s.qos}</td>
      <td>{handling}</td>
      <td>{s.resting && <Badge tone="warn" title="It may not be used at present">resting</Badge>} {s.no_local && <Badge>no local</Badge>} {s.retain_as_published && <Badge>retain as published</Badge>} {s.id ? <Badge>id {s.id}</Badge> : ''}</td>
    </tr>
  )
}

function LookBack({ id }: { id: string }) {
  const lines = useLoad<Page<TraceLine> | TraceLine[]>(`/clients/${seg(id)}/trace`, 3000)
  return (
    <>
      <div class="toolbar"><p class="faint grow">The heads of its last packets, kept for every client. For whole packets <a href={to('trace', [], { client: id })}>start a trace</a>.</p></div>
      <Read from={lines} what="the look-back trace">{(p) => { const items = (Array.isArray(p) ? p : (p.items ?? [])).toReversed(); return items.length ? <Lines lines={items} without="client" /> : <Empty icon="trace" title="No packets are kept of it" /> }}</Read>
    </>
  )
}

