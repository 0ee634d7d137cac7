// All clients and sessions: a list of any length, and one of them.
import { can, path } from '../api'
import { bytes, cli, num, rate, terms } from '../format'
import { requery, route, to } from '../route'
import type { Client } from '../types'
import { Act, Ago, Badge, Dot, Head } from '../ui/basics'
import { Chips, Filter } from '../ui/filter'
import { type Column, usePager, VirtualTable } from '../ui/virtual'
import { ClientPage } from './client'
import { bulk } from './client-acts'

export default function Clients() {
  const id = route.value.parts[0]
  return id === undefined ? <List /> : <ClientPage key={id} id={id} tab={route.value.parts[1] ?? 'overview'} />
}

const columns: Column<Client>[] = [
  { id: 'id', title: 'Client', sort: 'id', width: '24%', render: (c) => <span class="with-dot"><Dot tone={c.quarantined ? 'warn' : c.connected ? 'ok' : 'calm'} label={c.quarantined ? 'quarantined' : c.connected ? 'connected' : 'offline'} /><a href={to('clients', [c.id])} class="strong clip" title={c.id}>{c.id}</a>{c.quarantined && <Badge tone="warn">quarantine</Badge>}{c.gone && <Badge title="Its session has ended since this list was made">gone</Badge>}</span> },
  { id: 'user', title: 'User', sort: 'user', width: '13%', from: 760, render: (c) => c.user ? <span title={c.user}>{c.user}</span> : <span class="faint">anonymous</span> },
  { id: 'address', title: 'Address', sort: 'address', width: '14%', from: 900, render: (c) => <span class="mono">{c.address ?? '–'}</span> },
  { id: 'protocol', title: 'MQTT', sort: 'protocol', width: '74px', from: 1100, render: (c) => <>{c.protocol ?? '–'}{c.tls ? <span class="faint"> TLS</span> : ''}</> },
  { id: 'since', title: 'Since', sort: 'since', width: '92px', from: 560, hint: 'How long it is connected, or gone', render: (c) => <Ago at={c.since ?? c.seen} /> },
  { id: 'subs', title: 'Subs', sort: 'subscriptions', right: true, width: '66px', from: 1000, render: (c) => num(c.subscriptions) },
  { id: 'in', title: 'In/s', sort: 'in_rate', right: true, width: '72px', render: (c) => rate(c.in?.rate) },
  { id: 'out', title: 'Out/s', sort: 'out_rate', right: true, width: '76px', from: 440, render: (c) => rate(c.out?.rate) },
  { id: 'inflight', title: 'Inflight', sort: 'inflight', right: true, width: '82px', from: 1200, render: (c) => num(c.inflight) },
  { id: 'queued', title: 'Queue', sort: 'queued', right: true, width: '86px', render: (c) => c.queued ? <a href={to('clients', [c.id, 'queue'])} class={c.queued > 1000 ? 'warn-text' : ''}>{num(c.queued)}</a> : <span class="faint">0</span> },
  { id: 'qbytes', title: 'Queued', sort: 'queue_bytes', right: true, width: '92px', from: 1300, render: (c) => c.queue_bytes ? bytes(c.queue_bytes) : <span class="faint">0</span> },
  { id: 'dropped', title: 'Dropped', sort: 'dropped', right: true, width: '90px', from: 680, render: (c) => c.dropped ? <a class="bad-text" href={to('events', [], { client: c.id, kind: 'dropped' })}>{num(c.dropped)}</a> : <span class="faint">0</span> },
]

const hints = ['connected:true', 'connected:false', 'user:', 'address:10.*', 'listener:', 'protocol:5.0', 'tls:false', 'queued>0', 'queue_bytes>1Mi', 'dropped>0', 'denied>0', 'inflight>10', 'in_rate>10', 'subscriptions>100', 'quarantined:true', 'groups:']

function List() {
  const q = route.value.query
  const filter = q.get('filter') ?? '', sort = q.get('sort') ?? 'id'
  const pager = usePager<Client>('/clients', { filter, sort, watch: true }, 1000, true)
  const set = (v: string) => requery({ filter: v })
  const again = () => void pager.refresh()
  return (
    <div class="page full">
      <Head title="Clients" command={[{ path: path('/clients', { filter, sort, limit: 100 }), cli: cli('clients list', terms(filter), { sort }) }]} />
      <div class="toolbar">
        <Filter value={filter} onChange={set} label="Filter clients" placeholder="id, user, address, or queued>0 user:shop*" hints={hints} />
        <Chips value={filter} onChange={set} chips={[['connected:true', 'Online'], ['connected:false', 'Offline'], ['queued>0', 'With a queue'], ['dropped>0', 'Lost messages'], ['denied>0', 'Denied'], ['quarantined:true', 'Quarantined']]} />
        {filter && can('operator') && <div class="bulk" role="group" aria-label="All clients with this filter">
          <span class="faint">All of these:</span>
          <Act small onClick={() => void bulk('disconnect', filter, again)}>Disconnect…</Act>
          <Act small onClick={() => void bulk('quarantine', filter, again)}>Quarantine…</Act>
          <Act small onClick={() => void bulk('ban', filter, again)}>Ban…</Act>
        </div>}
      </div>
      <VirtualTable pager={pager} columns={columns} label="Clients" what="clients" rowKey={(c) => c.id} href={(c) => to('clients', [c.id])} sort={sort} onSort={(s) => requery({ sort: s })} />
    </div>
  )
}
