// What a session still has to deliver: inflight and queued messages.
import { call, can, path, post, seg, useLoad } from '../api'
import { bytes, counted, num, span, words } from '../format'
import { to } from '../route'
import type { Inflight, Page, Queued } from '../types'
import { Act, Badge, Button, Empty, Read } from '../ui/basics'
import { ask } from '../ui/dialog'
import { PayloadView } from '../ui/payload'
import { type Column, usePager, VirtualTable } from '../ui/virtual'

export function Inflights({ id }: { id: string }) {
  const inflight = useLoad<Page<Inflight>>(`/clients/${seg(id)}/inflight`, 2000)
  return (
    <Read from={inflight} what="messages in flight">{(p) => !p.items?.length ? <Empty title="Nothing is in flight">Everything that was sent is acknowledged.</Empty> : (
      <div class="table-scroll" tabIndex={0} role="region" aria-label="Inflight">
        <table class="table plain">
          <caption class="sr">Messages in flight of {id}</caption>
          <thead><tr><th scope="col">Direction</th><th scope="col">Topic</th><th scope="col">State</th><th scope="col" class="right">Packet</th><th scope="col" class="right">QoS</th><th scope="col" class="right">Size</th><th scope="col" class="right">Age</th></tr></thead>
          <tbody>{p.items.map((m) => (
            <tr key={m.direction + m.packet_id}>
              <td><Badge tone={m.direction === 'in' ? 'accent' : 'calm'}>{m.direction === 'in' ? 'from it' : 'to it'}</Badge></td>
              <td class="wrap">{m.topic ? <a href={to('topics', [], { topic: m.topic })}>{m.topic}</a> : <span class="faint">not known</span>}</td><td>{words(m.state)}</td>
              <td class="right mono">{m.packet_id}</td><td class="right">{m.qos}</td><td class="right">{bytes(m.size)}</td><td class={m.age_seconds > 60 ? 'right warn-text' : 'right'}>{span(m.age_seconds)}</td>
            </tr>
          ))}</tbody>
        </table>
      </div>
    )}</Read>
  )
}

export function Queue({ id, changed }: { id: string; changed: () => void }) {
  const base = `/clients/${seg(id)}/queue`
  const pager = usePager<Queued>(base, {})
  const done = () => { void pager.refresh(); changed() }
  const remove = (m: Queued) => ask({
    title: 'Remove one message from the queue', confirm: 'Remove', danger: true, done,
    effect: <p>The message to <code>{m.topic}</code> at position {m.position} is not delivered to {id}, and counts as dropped. This cannot be undone.</p>,
    command: () => ({ method: 'DELETE', path: `${base}/${m.position}` }),
    run: async () => { await call('DELETE', `${base}/${m.position}`); return 'The message is removed' },
  })
  const requeue = (m: Queued) => ask({
    title: 'Put the message at the end of the queue', confirm: 'Requeue', done,
    effect: <p>The message to <code>{m.topic}</code> is delivered after everything that waits now.</p>,
    command: () => ({ method: 'POST', path: `${base}/${m.position}/requeue` }),
    run: async () => { await post(`${base}/${m.position}/requeue`); return 'The message is at the end of the queue' },
  })
  const purge = async () => {
    let effect = pager.matched ?? pager.length, size: number | undefined
    try { const p = await call<{ matched?: number; messages?: number; bytes?: number } | undefined>('DELETE', path(base, { preview: true })); effect = p?.matched ?? p?.messages ?? effect; size = p?.bytes } catch { /* the list says how many */ }
    ask({
      title: `Purge the queue of ${id}`, confirm: 'Purge', danger: true, done,
      effect: <p>{counted(effect, 'message')}{size !== undefined && ` (${bytes(size)})`} {effect === 1 ? 'is not delivered, and counts' : 'are not delivered, and count'} as dropped. This cannot be undone.</p>,
      command: () => ({ method: 'DELETE', path: base }),
      run: async () => { await call('DELETE', base); return 'The queue is empty' },
    })
  }
  const columns: Column<Queued>[] = [
    { id: 'pos', title: '#', width: '70px', right: true, render: (m) => <span class="faint">{num(m.position)}</span> },
    { id: 'topic', title: 'Topic', width: '30%', render: (m) => <a class="clip" href={to('topics', [], { topic: m.topic })} title={m.topic}>{m.topic}</a> },
    { id: 'payload', title: 'Payload', from: 560, render: (m) => <PayloadView payload={m.payload} compact /> },
    { id: 'qos', title: 'QoS', width: '54px', right: true, from: 560, render: (m) => m.qos },
    { id: 'size', title: 'Size', width: '84px', right: true, from: 640, render: (m) => bytes(m.size ?? m.payload?.size) },
    { id: 'from', title: 'From', width: '12%', from: 900, render: (m) => m.publisher ? <a class="clip" href={to('clients', [m.publisher])}>{m.publisher}</a> : '–' },
    { id: 'expires', title: 'Expires', width: '92px', from: 1180, render: (m) => m.expires ? <span title={m.expires}>in {span(Math.max(0, (Date.parse(m.expires) - Date.now()) / 1000))}</span> : <span class="faint">never</span> },
    ...(can('operator') ? [{ id: 'do', title: 'Actions', bare: true, width: '84px', right: true, render: (m: Queued) => <span class="row-acts"><Button kind="ghost" small icon="down" aria-label={`Requeue message ${m.position}`} title="To the end" onClick={() => requeue(m)} /><Button kind="ghost" small icon="trash" aria-label={`Remove message ${m.position}`} title="Remove" onClick={() => remove(m)} /></span> }] : []),
  ]
  return (
    <>
      <div class="toolbar"><p class="faint grow">The oldest first, as it waits. Looking changes nothing.</p><Button icon="refresh" small onClick={() => void pager.refresh()}>Refresh</Button><Act small kind="danger" onClick={() => void purge()}>Purge…</Act></div>
      <VirtualTable pager={pager} columns={columns} label={`Queue of ${id}`} what="queued messages" rowKey={(m) => String(m.position)} empty={<Empty title="The queue is empty" />} />
    </>
  )
}

