// Retained messages: what a new subscriber would get, and how to clean up with a way back.
import { can, path, post, seg, useLoad } from '../api'
import { bytes, cli, counted, num, span, terms } from '../format'
import { requery, route, to } from '../route'
import type { Page, Retained as Message, RetainedEffect, Snapshot } from '../types'
import { Act, Ago, Badge, Button, Card, cx, Empty, Facts, Head, Note, Read, Tabs } from '../ui/basics'
import { ask } from '../ui/dialog'
import { Filter } from '../ui/filter'
import { PayloadView } from '../ui/payload'
import { type Column, usePager, VirtualTable } from '../ui/virtual'

const ages: [string, string][] = [['', 'of any age'], ['3600', 'older than 1 h'], ['86400', 'older than 1 day'], ['604800', 'older than 1 week'], ['2592000', 'older than 30 days']]

export default function Retained() {
  const tab = route.value.parts[0] ?? 'messages'
  return (
    <div class="page full">
      <Head title="Retained" command={{ path: path('/retained', { filter: route.value.query.get('filter') }), cli: cli('retained list', terms(route.value.query.get('filter') ?? '')) }} />
      <Tabs label="Retained" active={tab} tabs={[{ id: 'messages', title: 'Messages', href: to('retained') }, { id: 'snapshots', title: 'Undo', href: to('retained', ['snapshots']) }]} />
      {tab === 'snapshots' ? <Snapshots /> : <Messages />}
    </div>
  )
}

function Messages() {
  const q = route.value.query
  const filter = q.get('filter') ?? '', older = q.get('older') ?? '', publisher = q.get('publisher') ?? '', sort = q.get('sort') ?? 'topic', topic = q.get('topic')
  const pager = usePager<Message>('/retained', { filter, older_than: older ? older + 's' : '', publisher, sort }, 10_000, true)
  const columns: Column<Message>[] = [
    { id: 'topic', title: 'Topic', sort: 'topic', width: '32%', render: (m) => <span class="clip" title={m.topic}>{m.topic}</span> },
    { id: 'payload', title: 'Payload', from: 560, render: (m) => <PayloadView payload={m.payload} compact /> },
    { id: 'size', title: 'Size', sort: 'size', right: true, width: '84px', from: 420, render: (m) => bytes(m.size) },
    { id: 'at', title: 'Age', sort: 'at', width: '100px', render: (m) => <Ago at={m.at} /> },
    { id: 'publisher', title: 'Publisher', sort: 'publisher', width: '13%', from: 820, render: (m) => m.publisher ? <a class="clip" href={to('clients', [m.publisher])}>{m.publisher}</a> : '–' },
    { id: 'expires', title: 'Expires', width: '92px', from: 1180, render: (m) => m.expires ? <>in {span(Math.max(0, (Date.parse(m.expires) - Date.now()) / 1000))}</> : <span class="faint">never</span> },
  ]
  return (
    <>
      <div class="toolbar">
        <Filter value={filter} onChange={(v) => requery({ filter: v })} label="Topic filter" placeholder="a topic filter, such as shop/012/#" />
        <select aria-label="Age" value={older} onChange={(e) => requery({ older: e.currentTarget.value })}>{ages.map(([v, t]) => <option key={v} value={v}>{t}</option>)}</select>
        <input aria-label="Publisher" placeholder="publisher" value={publisher} onChange={(e) => requery({ publisher: e.currentTarget.value })} />
        <span class="grow" />
        <Act kind="danger" icon="trash" onClick={() => void remove({ filter: filter || '#', older, publisher }, () => void pager.refresh())}>Delete these…</Act>
      </div>
      <div class={cx('split wide-left', topic !== null ? 'chosen' : 'alone')}>
        <VirtualTable pager={pager} columns={columns} label="Retained messages" what="retained messages" rowKey={(m) => m.topic} onPick={(m) => requery({ topic: m.topic })} picked={topic ?? undefined} sort={sort} onSort={(s) => requery({ sort: s })} empty={<Empty icon="retained" title="No retained message matches" />} />
        {topic !== null && <One topic={topic} changed={() => void pager.refresh()} />}
      </div>
    </>
  )
}

function One({ topic, changed }: { topic: string; changed: () => void }) {
  const message = useLoad<Message>(path('/retained/message', { topic }), 5000)
  return (
    <div class="pane">
      <Card title={<span class="crumbs">{topic}</span>} extra={<Button kind="ghost" small icon="close" aria-label="Close" onClick={() => requery({ topic: undefined })} />}>
        <Read from={message} what="this message">{(m) => (
          <div class="form">
            <PayloadView payload={m.payload} />
            <Facts rows={[['Published', <Ago at={m.at} past />], ['By', m.publisher ? <a href={to('clients', [m.publisher])}>{m.publisher}</a> : 'not known'], ['QoS', m.qos], ['Size', bytes(m.size)], ['Expires', m.expires ? m.expires : 'never']]} />
            <div class="form-foot"><a class="button" href={to('topics', [], { topic })}>Show in topics</a><Act kind="danger" icon="trash" onClick={() => void remove({ filter: topic, older: '', publisher: '' }, changed)}>Delete…</Act></div>
          </div>
        )}</Read>
      </Card>
    </div>
  )
}

/** Asks the server first what would go, and shows it. */
async function remove(which: { filter: string; older: string; publisher: string }, done: () => void) {
  const body = { filter: which.filter, ...(which.older ? { older_than_seconds: Number(which.older) } : {}), ...(which.publisher ? { publisher: which.publisher } : {}) }
  let preview: RetainedEffect | undefined, error = ''
  try { preview = await post<RetainedEffect>('/retained/delete', { ...body, preview: true }) } catch (e) { error = (e as Error).message }
  ask({
    title: `Delete retained messages of ${which.filter}`, confirm: preview ? `Delete ${num(preview.matched)}` : 'Delete', danger: true, done, ready: () => preview !== undefined && preview.matched > 0,
    effect: preview ? <>
      <p><b>{counted(preview.matched, 'message')}</b>, {bytes(preview.bytes)}, {preview.matched === 1 ? 'goes' : 'go'}; new subscribers will not get them. A snapshot is kept first, from which they can be restored (Retained, Undo).</p>
      {!!preview.sample?.length && <><span class="faint">Such as</span><ul class="mono">{preview.sample.slice(0, 8).map((s) => { const t = typeof s === 'string' ? s : s.topic; return <li key={t} class="wrap">{t}</li> })}</ul></>}
      {which.filter === '#' && <Note tone="warn">No topic filter is set: this is every retained message that there is.</Note>}
    </> : <Note tone="bad">What it would delete could not be found out: {error}</Note>,
    command: () => ({ method: 'POST', path: '/retained/delete', body: { ...body, confirm: preview?.matched ?? 0 }, cli: cli('retained delete', [which.filter], { 'older-than': which.older ? `${which.older}s` : '', publisher: which.publisher, confirm: preview?.matched ?? 0 }) }),
    run: async () => { const r = await post<RetainedEffect>('/retained/delete', { ...body, confirm: preview?.matched ?? 0 }); return <>{counted(r?.deleted ?? r?.matched, 'message')} {(r?.deleted ?? r?.matched) === 1 ? 'is' : 'are'} deleted. {r?.snapshot && <>Snapshot {r.snapshot.id} can bring {(r.deleted ?? r.matched) === 1 ? 'it' : 'them'} back.</>}</> },
  })
}

function Snapshots() {
  const list = useLoad<Page<Snapshot> | Snapshot[]>('/retained/snapshots', 10_000)
  const restore = (s: Snapshot) => ask({
    title: 'Restore deleted messages', confirm: 'Restore', done: list.reload,
    effect: <p>{(s.messages ?? s.matched) === 1 ? 'The message that was deleted is' : `The ${counted(s.messages ?? s.matched, 'message')} that were deleted are`} retained again, unless a newer one has taken the place. Those connected get nothing anew.</p>,
    command: () => ({ method: 'POST', path: `/retained/snapshots/${seg(s.id)}/restore`, cli: cli('retained restore', [s.id]) }),
    run: async () => { await post(`/retained/snapshots/${seg(s.id)}/restore`); return 'The messages are back' },
  })
  return (
    <Read from={list} what="snapshots">{(p) => {
      const items = Array.isArray(p) ? p : (p.items ?? [])
      return items.length ? (
        <div class="table-scroll" tabIndex={0} role="region" aria-label="Snapshots"><table class="table plain">
          <caption class="sr">Snapshots taken before deletions</caption>
          <thead><tr><th scope="col">Taken</th><th scope="col">Filter</th><th scope="col">By</th><th scope="col" class="right">Messages</th><th scope="col" class="right">Size</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
          <tbody>{items.map((s) => <tr key={s.id}><td><Ago at={s.at} past /></td><td class="mono wrap">{s.filter ?? ''}</td><td>{s.by ?? <Badge>unknown</Badge>}</td><td class="right">{num(s.messages ?? s.matched)}</td><td class="right">{bytes(s.bytes)}</td><td class="right">{can('operator') && <Button small icon="undo" onClick={() => restore(s)}>Restore…</Button>}</td></tr>)}</tbody>
        </table></div>
      ) : <Empty icon="undo" title="Nothing was deleted">Each deletion keeps a snapshot here, from which it can be undone.</Empty>
    }}</Read>
  )
}
