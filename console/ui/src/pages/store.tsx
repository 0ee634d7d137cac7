import { can, post, useLoad } from '../api'
import { bytes, cli, counted, day, num, span, term, time, words } from '../format'
import { to } from '../route'
import type { Listener, StoreStatus } from '../types'
import { Ago, Badge, Button, Card, Empty, Facts, Figure, Note, Read } from '../ui/basics'
import { ask } from '../ui/dialog'

export function Listeners() {
  const list = useLoad<Listener[]>('/listeners', 3000)
  return (
    <Read from={list} what="listeners">{(all) => all.length === 0 ? <Empty title="There are no listeners" /> : <div class="columns">{all.map((l) => (
      <Card key={l.name} title={l.name} extra={<Badge tone={l.tls ? 'ok' : 'calm'}>{l.tls ? 'TLS' : 'without TLS'}</Badge>}>
        {l.warning && <Note tone="warn">{l.warning}</Note>}
        {l.tls?.reload_error && <Note tone="bad">{l.tls.reload_error}</Note>}
        {l.tls?.warnings?.map((w) => <Note key={w} tone="warn">{w}</Note>)}
        <Facts rows={[
          ['Address', <span class="mono">{l.url}</span>], ['Connections', <a href={to('clients', [], { filter: `listener:${term(l.name)} connected:true` })}>{num(l.connections)}</a>], ['In a handshake', <>{num(l.handshaking)}{l.waiting_for_handshake ? <>, {num(l.waiting_for_handshake)} wait</> : ''}</>],
          ['Asked who clients are', l.authentication?.length ? l.authentication.join(', then ') : <Badge tone="warn">nobody: all are anonymous</Badge>],
          ...Object.entries(l.turned_away ?? {}).filter(([, n]) => n > 0).map(([k, n]) => [<>Turned away: {words(k)}</>, num(n)] as const),
          ...(l.tls?.certificates ?? []).map((c) => ['Certificate', <>{c.subject} <Badge tone={c.days_left < 7 ? 'bad' : c.days_left < 21 ? 'warn' : 'ok'}>{c.days_left < 0 ? 'ended' : `${c.days_left} days left`}</Badge><div class="faint">by {c.issuer}, until {day(time(c.not_after) ?? new Date())}{c.names?.length ? `, for ${c.names.join(', ')}` : ''}</div></>] as const),
        ]} />
      </Card>
    ))}</div>}</Read>
  )
}

/** What of the files is needed, is old, and is none of both: space that was made ready ahead for what comes, and checkpoints. */
function shares(s: StoreStatus) {
  const written = (s.segments ?? []).reduce((n, g) => n + g.bytes, 0)
  const old = (s.segments ?? []).reduce((n, g) => n + Math.max(0, g.bytes - g.live_bytes), 0)
  return { old, ahead: Math.max(0, s.bytes - written) }
}

export function Store() {
  const store = useLoad<StoreStatus>('/store', 3000)
  if (store.error?.status === 409) return <Empty icon="broker" title="Nothing is kept on disk">The durability is “memory”: a restart forgets sessions and retained messages.</Empty>
  const compact = (s: StoreStatus) => ask({
    title: 'Compact the store', confirm: 'Compact', done: store.reload,
    effect: <p>{shares(s).old > 0 ? `Of ${bytes(s.bytes)} on disk, at most ${bytes(shares(s).old)} are records that nothing needs any more. The live ones between them are copied once, and the files that this empties are used again or deleted.` : 'There is nothing that is not needed any more.'} The {bytes(shares(s).ahead)} that are made ready ahead for what comes stay, so that the store may be as large as before. Clients are served meanwhile, a bit more slowly.</p>,
    command: () => ({ method: 'POST', path: '/store/compact', cli: cli('store compact') }),
    run: async () => { const r = await post<{ before_bytes?: number; after_bytes?: number }>('/store/compact'); return r?.after_bytes === undefined ? 'The store is compact' : r.after_bytes === r.before_bytes ? `The store is ${bytes(r.after_bytes)} as before` : `The store is ${bytes(r.after_bytes)}, after ${bytes(r.before_bytes)}` },
  })
  const check = () => ask({
    title: 'Check the store', confirm: 'Check', effect: <p>Everything is read and its checksums are verified. Nothing is changed.</p>,
    command: () => ({ method: 'POST', path: '/store/check', cli: cli('store check') }),
    run: async () => { const r = await post<{ records?: number; damage?: unknown[] }>('/store/check'); return r?.damage?.length ? `${counted(r.damage.length, 'part')} damaged` : `${counted(r?.records, 'record')}, all as written` },
  })
  return (
    <Read from={store} what="the store">{(s) => (
      <>
        {s.health !== 'ok' && <Note tone="bad">{s.health}</Note>}
        <div class="figures">
          <Figure name="On disk" value={bytes(s.bytes)} sub={<>{bytes(s.live_bytes)} needed, {bytes(shares(s).old)} old, {bytes(shares(s).ahead)} ready</>} />
          <Figure name="Free" value={s.free_bytes < 0 ? 'not known' : bytes(s.free_bytes)} sub={<span class="mono">{s.dir}</span>} />
          <Figure name="A commit" value={span(s.commits.sync_p50_ns / 1e9)} sub={<>99 of 100 within {span(s.commits.sync_p99_ns / 1e9)}</>} />
          <Figure name="Records" value={num(s.commits.records)} sub={<>{s.commits.groups ? num(Math.round(s.commits.records / s.commits.groups)) : '–'} a commit</>} />
          <Figure name="Failed commits" value={num(s.commits.failed)} tone={s.commits.failed ? 'bad' : undefined} sub={<>{counted(s.damaged, 'part')} damaged</>} />
        </div>
        <div class="columns">
          <Card title="Segments" extra={can('admin') && <><Button small onClick={check}>Check…</Button><Button small onClick={() => compact(s)}>Compact…</Button></>}>
            <div class="segments" role="img" aria-label={`${s.segments?.length ?? 0} segments; filled as far as live`}>{(s.segments ?? []).slice(-160).map((g) => <i key={g.number} title={`${g.kind} ${g.number}: ${bytes(g.live_bytes)} of ${bytes(g.bytes)} live`} style={{ '--live': `${g.bytes ? (g.live_bytes / g.bytes) * 100 : 0}%` } as never} />)}</div>
            <p class="faint card-foot">{counted(s.segments?.length, 'segment')}, filled as far as still needed.</p>
          </Card>
          <Card title="The last start"><Facts rows={[['Took', span(s.start.took_ns / 1e9)], ['Read', <>{counted(s.start.replayed_records, 'record')}, {bytes(s.start.replayed_bytes)}</>], ['Cut off', bytes(s.start.cut_bytes)], ['Set aside as damaged', bytes(s.start.quarantined_bytes)], ['Checkpoint', <Ago at={s.checkpoint} past />], ['Behind it', bytes(s.tail_bytes)], ['Durability', s.durability]]} /></Card>
        </div>
      </>
    )}</Read>
  )
}
