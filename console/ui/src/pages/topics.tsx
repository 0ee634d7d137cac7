// The topics that there are: a live tree, a search, the heaviest, and those that nobody hears or feeds.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import { path, useLoad } from '../api'
import { below, bytes, cli, full, num, rate, terms } from '../format'
import { requery, route, to } from '../route'
import { type Row, Tree } from '../tree'
import type { Page, Topic } from '../types'
import { Ago, Badge, cx, Empty, Failure, Head, Loading, Note, Read, Tabs } from '../ui/basics'
import { Filter } from '../ui/filter'
import { Icon } from '../ui/icons'
import { again, type Column, usePager, VirtualTable } from '../ui/virtual'
import { TopicView } from './topic'

const tabs = [['tree', 'Tree'], ['search', 'Search'], ['top', 'Heaviest'], ['unheard', 'Unheard'], ['unfed', 'Unfed']] as const

export default function Topics() {
  const { parts, query } = route.value
  const tab = parts[0] ?? 'tree'
  const topic = query.get('topic')
  const filter = query.get('filter') ?? ''
  const command = topic !== null ? { path: path('/topics/detail', { topic }), cli: cli('topics show', [topic]) }
    : tab === 'tree' ? { path: '/topics/tree', cli: cli('topics tree') } : tab === 'search' ? { path: path('/topics', { filter, payload: query.get('payload') }), cli: cli('topics list', terms(filter), { payload: query.get('payload') ?? '' }) } : { path: '/topics/' + tab, cli: cli(`topics ${tab}`, [], tab === 'top' ? { by: query.get('by') ?? '' } : {}) }
  const pick = (t: string) => requery({ topic: t })
  return (
    <div class="page full">
      <Head title="Topics" command={command} />
      <Tabs label="Views of topics" active={tab} tabs={tabs.map(([id, title]) => ({ id, title, href: to('topics', id === 'tree' ? [] : [id]) }))} />
      <div class={cx('split', tab !== 'tree' && 'wide-left', topic !== null && 'chosen', topic === null && tab !== 'tree' && 'alone')}>
        {tab === 'tree' ? <TreeView picked={topic} pick={pick} /> : tab === 'search' ? <SearchList pick={pick} picked={topic} /> : tab === 'top' ? <Top pick={pick} picked={topic} /> : tab === 'unheard' ? <Unheard pick={pick} picked={topic} /> : <Unfed />}
        {topic !== null ? <TopicView key={topic} topic={topic} close={() => requery({ topic: undefined })} />
          : tab === 'tree' && <div class="pane"><Empty icon="topics" title="Pick a topic">Its last message, who gets it, and how much flows are shown here.</Empty></div>}
      </div>
    </div>
  )
}

const height = 28

function TreeView({ picked, pick }: { picked: string | null; pick: (t: string) => void }) {
  const sort = route.value.query.get('sort') ?? 'topic'
  const tree = useMemo(() => new Tree(sort), [sort])
  const box = useRef<HTMLDivElement>(null)
  const [view, setView] = useState({ top: 0, height: 600 })
  const [cursor, setCursor] = useState<string | null>(picked)
  useEffect(() => () => tree.close(), [tree])
  useEffect(() => {
    // The tree opens where the page was linked to.
    if (!picked) return
    const stop = tree.version.subscribe(() => { if (tree.rows().length && !tree.loading) queueMicrotask(() => { stop(); void tree.reveal(picked).then(() => {
      const i = tree.rows().findIndex((r) => r.key === picked)
      if (i >= 0) requestAnimationFrame(() => { if (box.current) box.current.scrollTop = Math.max(0, i * height - box.current.clientHeight / 3) })
    }) }) })
    return () => stop()
  }, [tree])
  useLayoutEffect(() => {
    const el = box.current!
    let frame = 0
    const step = height * 5
    const read = () => { frame = 0; setView((old) => { const top = Math.floor(el.scrollTop / step) * step; return old.top === top && old.height === el.clientHeight ? old : { top, height: el.clientHeight } }) }
    const soon = () => { if (!frame) frame = requestAnimationFrame(read) }
    const ro = new ResizeObserver(soon)
    ro.observe(el)
    el.addEventListener('scroll', soon, { passive: true })
    read()
    return () => { ro.disconnect(); el.removeEventListener('scroll', soon); cancelAnimationFrame(frame) }
  }, [])
  void tree.version.value
  const rows = tree.rows()
  const first = Math.max(0, Math.floor(view.top / height) - 10), last = Math.min(rows.length, Math.ceil((view.top + view.height) / height) + 10)
  const seen = rows.slice(first, last)
  const latest = useRef(seen)
  latest.current = seen
  useEffect(() => again(2000, () => tree.refresh(latest.current)), [tree])
  useEffect(() => { for (const r of seen) if (r.kind === 'more' && !r.full && !r.error) void tree.more(r.parent) })
  const key = (e: KeyboardEvent) => {
    const at = rows.findIndex((r) => r.key === cursor)
    const move = (i: number) => {
      const r = rows[Math.max(0, Math.min(rows.length - 1, i))]
      if (!r) return
      e.preventDefault()
      setCursor(r.key)
      const y = rows.indexOf(r) * height, el = box.current!
      if (y < el.scrollTop) el.scrollTop = y
      else if (y + height > el.scrollTop + el.clientHeight) el.scrollTop = y + height - el.clientHeight
    }
    const row = rows[at]
    if (e.key === 'ArrowDown') move(at + 1)
    else if (e.key === 'ArrowUp') move(at - 1)
    else if (e.key === 'Home') move(0)
    else if (e.key === 'End') move(rows.length - 1)
    else if (e.key === 'PageDown') move(at + Math.floor(view.height / height))
    else if (e.key === 'PageUp') move(at - Math.floor(view.height / height))
    else if (row?.kind === 'topic' && e.key === 'ArrowRight') { e.preventDefault(); if (row.open) move(at + 1); else void tree.toggle(row.key, true) }
    else if (row?.kind === 'topic' && e.key === 'ArrowLeft') { e.preventDefault(); if (row.open) void tree.toggle(row.key, false); else { for (let i = at - 1; i >= 0; i--) if (rows[i]!.depth < row.depth) { move(i); break } } }
    else if (row?.kind === 'topic' && (e.key === 'Enter' || e.key === ' ')) { e.preventDefault(); pick(row.key) }
  }
  return (
    <div class="tree">
      <div class="tree-head">
        <span><button class={cx('sort', sort === 'topic' && 'active')} aria-pressed={sort === 'topic'} onClick={() => requery({ sort: undefined })}>Name</button></span>
        <span><button class={cx('sort', sort === '-rate' && 'active')} aria-pressed={sort === '-rate'} onClick={() => requery({ sort: '-rate' })}>Rate/s</button></span>
        <span><button class={cx('sort', sort === '-topics' && 'active')} aria-pressed={sort === '-topics'} onClick={() => requery({ sort: '-topics' })}>Topics</button></span>
        <span><button class={cx('sort', sort === '-bytes' && 'active')} aria-pressed={sort === '-bytes'} onClick={() => requery({ sort: '-bytes' })}>Bytes</button></span>
      </div>
      <div class="tree-box" ref={box} role="tree" aria-label="Topics" tabIndex={0} onKeyDown={key} aria-activedescendant={cursor !== null && seen.some((r) => r.key === cursor) ? rowId(cursor) : undefined}>
        {rows.length === 0 && (tree.error ? <Failure error={tree.error} what="topics" retry={() => void tree.more('\u0000')} /> : tree.loading ? <Loading rows={8} /> : <Empty icon="topics" title="Nothing was published yet" />)}
        <div class="tree-space" role="presentation" style={{ height: `${rows.length * height}px` }}>
          {seen.map((r, i) => <TreeRow key={r.key} row={r} top={(first + i) * height} tree={tree} picked={picked === r.key} cursor={cursor === r.key} pick={() => { setCursor(r.key); if (r.kind === 'topic') pick(r.key) }} />)}
        </div>
      </div>
    </div>
  )
}

const rowId = (key: string) => 'row-' + encodeURIComponent(key).replace(/%/g, '_')

function TreeRow({ row, top, tree, picked, cursor, pick }: { row: Row; top: number; tree: Tree; picked: boolean; cursor: boolean; pick: () => void }) {
  const style = { top: `${top}px`, paddingLeft: `${8 + row.depth * 16}px` }
  if (row.kind === 'more') {
    return (
      <div class="tree-row" style={style} role="treeitem" aria-level={row.depth + 1} id={rowId(row.key)}>
        <span class="faint">{row.error ? <>could not be read: {row.error} <button class="link" onClick={() => void tree.more(row.parent)}>Try again</button></> : row.full ? <>{row.left !== undefined ? full(row.left) : 'many'} more: <a href={to('topics', ['search'], { filter: row.parent === '\u0000' ? '' : below(row.parent) })}>search them</a></> : 'reading …'}</span>
      </div>
    )
  }
  const t = row.topic
  const branch = t.branch || !!t.children
  const dropped = (t.dropped ?? 0) > 0, unheard = !branch && (t.unheard ?? 0) > 0
  return (
    <div class={cx('tree-row', picked && 'picked', cursor && 'cursor')} style={style} id={rowId(row.key)} role="treeitem" aria-level={row.depth + 1} aria-expanded={branch ? row.open : undefined} aria-selected={picked}
      onClick={pick} onDblClick={() => void tree.toggle(row.key)}>
      <span class="tree-name">
        <span class={cx('twist', row.open && 'open')} onClick={(e) => { if (branch) { e.stopPropagation(); void tree.toggle(row.key) } }}>{branch && <Icon name="chevron" size={13} />}</span>
        <span class={cx('clip', (t.rate ?? 0) > 0 && 'hot')} title={t.topic}>{t.name === '' ? <i class="faint">empty</i> : t.name ?? t.topic}</span>
        {t.retained ? <Badge title="Has a retained message">{typeof t.retained === 'number' && t.retained > 1 ? `${num(t.retained)} R` : 'R'}</Badge> : null}
        {dropped && <span class="mark" role="img" aria-label={`${full(t.dropped!)} dropped`} title={`${full(t.dropped!)} copies were dropped`}><Icon name="warn" size={14} /></span>}{unheard && <Badge title="Nobody listens">unheard</Badge>}
      </span>
      <span>{rate(t.rate)}</span>
      <span>{branch ? num(t.topics) : ''}</span>
      <span>{bytes(t.bytes)}</span>
    </div>
  )
}

const columns: Column<Topic>[] = [
  { id: 'topic', title: 'Topic', sort: 'topic', render: (t) => <span class="clip" title={t.topic}>{t.topic}{t.retained ? <> <Badge>R</Badge></> : null}</span> },
  { id: 'rate', title: 'Rate/s', sort: 'rate', right: true, width: '80px', render: (t) => rate(t.rate) },
  { id: 'messages', title: 'Messages', sort: 'messages', right: true, width: '116px', from: 440, render: (t) => num(t.messages) },
  { id: 'bytes', title: 'Bytes', sort: 'bytes', right: true, width: '90px', from: 620, render: (t) => bytes(t.bytes) },
  { id: 'copies', title: 'Copies', sort: 'copies', right: true, width: '94px', from: 760, hint: 'Made of them for subscribers', render: (t) => num(t.copies) },
  { id: 'dropped', title: 'Dropped', sort: 'dropped', right: true, width: '90px', from: 860, render: (t) => t.dropped ? <span class="bad-text">{num(t.dropped)}</span> : <span class="faint">0</span> },
  { id: 'last', title: 'Last', width: '92px', from: 980, render: (t) => <Ago at={t.last?.at} /> },
]

interface Picking { pick: (t: string) => void; picked: string | null }

function SearchList({ pick, picked }: Picking) {
  const q = route.value.query
  const filter = q.get('filter') ?? '', payload = q.get('payload') ?? '', sort = q.get('sort') ?? '-rate'
  const pager = usePager<Topic>('/topics', { filter, payload, sort }, 4000, true)
  return (
    <div class="pane">
      <div class="toolbar">
        <Filter value={filter} onChange={(v) => requery({ filter: v })} label="Filter topics" placeholder="part of the name, or rate>10 unheard>0" hints={['topic:', 'rate>1', 'messages>1000', 'bytes>1M', 'dropped>0', 'unheard>0', 'retained:true']} />
        <Filter value={payload} onChange={(v) => requery({ payload: v })} label="Search in payloads" placeholder="a word of the last payload" />
      </div>
      <VirtualTable pager={pager} columns={columns} label="Topics" what="topics" rowKey={(t) => t.topic} onPick={(t) => pick(t.topic)} picked={picked ?? undefined} sort={sort} onSort={(s) => requery({ sort: s })} />
    </div>
  )
}

/** One of the heaviest; its weight may be too high by the error. */
interface Heavy { topic: string; weight: number; error?: number }

function Top({ pick, picked }: Picking) {
  const by = route.value.query.get('by') ?? 'messages'
  const top = useLoad<Page<Heavy> & { error?: number; exact?: boolean }>(path('/topics/top', { by }), 3000)
  return (
    <div class="pane">
      <div class="toolbar">
        <div class="seg" role="group" aria-label="Heaviest by">{['messages', 'bytes', 'copies', 'dropped'].map((b) => <button key={b} aria-pressed={by === b} onClick={() => requery({ by: b })}>{b[0]!.toUpperCase() + b.slice(1)}</button>)}</div>
        {top.data && <span class="faint">{top.data.exact ? 'Exact counts.' : top.data.error ? `Found by a sketch: each count is at most ${full(top.data.error)} too high.` : ''}</span>}
      </div>
      <Read from={top} what="the heaviest topics">{(p) => {
        const items = p.items ?? [], max = Math.max(1, ...items.map((t) => t.weight))
        return items.length ? <ul class="card bars even">{items.map((t) => <li key={t.topic}><a href={to('topics', ['top'], { topic: t.topic, by })} aria-current={picked === t.topic ? 'true' : undefined} onClick={(e) => { e.preventDefault(); pick(t.topic) }}><span class="wrap">{t.topic}</span><b>{by === 'bytes' ? bytes(t.weight) : num(t.weight)}</b><i style={{ width: `${Math.max(0.5, (t.weight / max) * 100)}%` }} /></a></li>)}</ul> : <Empty title="Nothing was counted yet" />
      }}</Read>
    </div>
  )
}

function Unheard({ pick, picked }: Picking) {
  const sort = route.value.query.get('sort') ?? '-messages'
  const pager = usePager<Topic>('/topics/unheard', { sort }, 10_000, true)
  return (
    <div class="pane">
      <Note>Messages are published here and nobody subscribes: they cost the devices' data and reach nobody.</Note>
      <VirtualTable pager={pager} columns={columns} label="Unheard topics" what="unheard topics" rowKey={(t) => t.topic} onPick={(t) => pick(t.topic)} picked={picked ?? undefined} sort={sort} onSort={(s) => requery({ sort: s })} empty={<Empty title="Everything that is published is heard" />} />
    </div>
  )
}

interface Unfed { filter: string; client: string; user?: string; qos: number }

function Unfed() {
  const sort = route.value.query.get('sort') ?? 'filter'
  const pager = usePager<Unfed>('/topics/unfed', { sort }, 10_000, true)
  const cols: Column<Unfed>[] = [
    { id: 'filter', title: 'Filter', sort: 'filter', render: (f) => <span class="clip mono" title={f.filter}>{f.filter}</span> },
    { id: 'client', title: 'Subscribed by', sort: 'client', width: '34%', render: (f) => <a class="clip" title={f.client} href={to('clients', [f.client, 'subscriptions'])}>{f.client}</a> },
    { id: 'user', title: 'User', sort: 'user', width: '18%', from: 640, render: (f) => f.user ?? <span class="faint">anonymous</span> },
    { id: 'qos', title: 'QoS', sort: 'qos', right: true, width: '66px', from: 500, render: (f) => f.qos },
  ]
  return (
    <div class="pane">
      <Note>Clients subscribe to these, and no message ever matched: a wrong name, or a publisher that is not there.</Note>
      <VirtualTable pager={pager} columns={cols} label="Unfed filters" what="unfed filters" rowKey={(f) => f.filter + f.client} sort={sort} onSort={(s) => requery({ sort: s })} empty={<Empty title="Every subscription was fed" />} />
    </div>
  )
}

