// What happened: every fact, newest first, live if one likes, and back as far as the store goes.
import { useEffect, useRef, useState } from 'preact/hooks'
import { apiRoot, get, path, Problem } from '../api'
import { cli, full, words } from '../format'
import { requery, route, to } from '../route'
import type { Fact, Page } from '../types'
import { Button, Empty, Failure, Head, Loading } from '../ui/basics'
import { FactList, kinds } from '../ui/facts'
import { Filter } from '../ui/filter'
import { useStream } from '../ui/stream'

const fields = ['kind', 'text', 'client', 'topic', 'user', 'address', 'reason', 'since', 'until'] as const
const spans: [string, string][] = [['', 'since ever'], ['15m', 'last 15 min'], ['1h', 'last hour'], ['24h', 'last day'], ['7d', 'last week']]
const groups = ['refused,denied,dropped,protocol_error,limited,stalled,taken_over', 'connected,disconnected,taken_over,refused', 'admin,reloaded,banned,unbanned,quarantined,quarantine_ended,retained_deleted']
const most = 1000

export default function Events() {
  const q = route.value.query
  const query = Object.fromEntries(fields.map((f) => [f, q.get(f) ?? undefined]))
  const { until: _, ...ahead } = query
  const live = q.get('live') !== 'off' && !query['until']
  const { facts, error, loading, next, older, add, catchUp } = useFacts(query)
  const stream = useStream<Fact>(live && !error?.missing ? path('/events/stream', { ...ahead, since: undefined }) : null, ['fact'], add, catchUp)
  const more = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const el = more.current
    if (!el || !next) return
    const io = new IntersectionObserver((e) => { if (e.some((x) => x.isIntersecting)) older() }, { rootMargin: '400px' })
    io.observe(el)
    return () => io.disconnect()
  }, [next, facts.length])
  const narrowed = fields.some((f) => query[f])
  return (
    <div class="page">
      <Head title="Events" sub={live ? (stream.live ? 'as they happen' : 'connecting …') : 'paused'} command={[{ path: path('/events', query), cli: cli('events', [], query) }, { what: 'As they happen', path: path('/events/stream', ahead), cli: cli('events', [], { follow: true, ...ahead }) }]}>
        <Button icon={live ? 'pause' : 'play'} disabled={!!query['until']} onClick={() => requery({ live: live ? 'off' : undefined })}>{live ? 'Pause' : 'Live'}</Button>
        <a class="button" href={apiRoot + path('/events', { ...query, limit: 10_000 })} download="events.json">Download</a>
      </Head>
      <div class="toolbar">
        <Filter value={query['text'] ?? ''} onChange={(v) => requery({ text: v })} label="Words of the event" placeholder="words of the sentence" />
        <select aria-label="Kind" value={query['kind'] ?? ''} onChange={(e) => requery({ kind: e.currentTarget.value })}>
          <option value="">all kinds</option>
          <option value={groups[0]}>trouble</option>
          <option value={groups[1]}>connections</option>
          <option value={groups[2]}>done by people</option>
          {kinds.map((k) => <option key={k} value={k}>{words(k)}</option>)}
          {query['kind'] && !groups.includes(query['kind']) && !kinds.includes(query['kind']) && <option value={query['kind']}>{words(query['kind']).replace(/,/g, ', ')}</option>}
        </select>
        <select aria-label="Time" value={query['since'] ?? ''} onChange={(e) => requery({ since: e.currentTarget.value })}>{spans.map(([v, t]) => <option key={v} value={v}>{t}</option>)}</select>
        <input aria-label="Client" placeholder="client" value={query['client'] ?? ''} onChange={(e) => requery({ client: e.currentTarget.value })} />
        <input aria-label="Topic" placeholder="topic or filter" value={query['topic'] ?? ''} onChange={(e) => requery({ topic: e.currentTarget.value })} />
        <input aria-label="Address" placeholder="address" value={query['address'] ?? ''} onChange={(e) => requery({ address: e.currentTarget.value })} />
        <input aria-label="User" placeholder="user" value={query['user'] ?? ''} onChange={(e) => requery({ user: e.currentTarget.value })} />
        <input aria-label="Reason" placeholder="reason" list="reasons" value={query['reason'] ?? ''} onChange={(e) => requery({ reason: e.currentTarget.value })} />
        <datalist id="reasons">{[...new Set(facts.map((f) => f.reason).filter(Boolean))].sort().map((r) => <option key={r} value={r} />)}</datalist>
        {narrowed && <a href={to('events')}>All</a>}
        {stream.lost > 0 && <span class="warn-text">{full(stream.lost)} came too fast to show; all are kept</span>}
      </div>
      <section class="card" aria-label="Events">
        {facts.length ? <FactList facts={facts} label="Events" /> : error ? <Failure error={error} what="events" /> : loading ? <Loading rows={8} /> : <Empty title={narrowed ? 'Nothing of that kind is known' : 'Nothing happened yet'} />}
        {facts.length > 0 && <div ref={more} class="card-foot faint">{loading ? 'Reading on …' : next ? (facts.length >= most ? <>These are {full(most)}. <button class="link" onClick={() => requery({ until: facts.at(-1)!.at })}>Go on from here</button></> : <button class="link" onClick={older}>Older</button>) : 'That is all that is kept.'}</div>}
      </section>
    </div>
  )
}

/** Facts that match, read back page by page. A page may be short, even empty, and lead on. */
function useFacts(query: Record<string, string | undefined>) {
  const [state, set] = useState<{ facts: Fact[]; next: string | undefined; error?: Problem; loading: boolean }>({ facts: [], next: undefined, loading: true })
  const abort = useRef(new AbortController())
  const busy = useRef(false)
  const missed = useRef(false)
  const key = JSON.stringify(query)
  const some = async (cursor: string | undefined, signal: AbortSignal) => {
    let found: Fact[] = [], next = cursor, pages = 0
    do {
      const page: Page<Fact> = await get<Page<Fact>>(path('/events', { ...query, limit: 100, cursor: next }), { signal })
      found = [...found, ...(page.items ?? [])]
      next = page.next
    } while (next && found.length < 50 && ++pages < 20)
    return { found, next }
  }
  const free = (signal: AbortSignal) => {
    if (signal.aborted) return
    busy.current = false
    if (missed.current) void catchUp()
  }
  const read = async (cursor: string | undefined, before: Fact[]) => {
    if (busy.current) return
    busy.current = true
    const { signal } = abort.current
    set((s) => ({ ...s, loading: true }))
    try {
      const { found, next } = await some(cursor, signal)
      set((s) => ({ facts: merge(before.length ? s.facts : s.facts.filter((f) => f.id > (found[0]?.id ?? 0)), found), next, loading: false }))
    } catch (e) {
      if (signal.aborted) return
      const error = e instanceof Problem ? e : new Problem(0, String(e))
      set((s) => ({ ...s, error, loading: false, next: undefined }))
    } finally { free(signal) }
  }
  /** Reads what came while nobody listened: it joins what is there, or takes its place where there is more between. */
  const catchUp = async () => {
    missed.current = busy.current
    if (busy.current) return
    busy.current = true
    const { signal } = abort.current
    try {
      const { found, next } = await some(undefined, signal)
      set((s) => {
        const facts = merge(s.facts.filter((f) => f.id > (found[0]?.id ?? 0)), found)
        return s.facts.some((f) => f.id === found.at(-1)?.id) ? { ...s, facts: merge(facts, s.facts).slice(0, most) } : { ...s, facts, next }
      })
    } catch { /* what is there stays; the stream tells what comes */ } finally { free(signal) }
  }
  useEffect(() => {
    abort.current = new AbortController()
    busy.current = missed.current = false
    set({ facts: [], next: undefined, loading: true })
    void read(undefined, [])
    return () => abort.current.abort()
  }, [key])
  return {
    ...state,
    older: () => { if (state.next && state.facts.length < most) void read(state.next, state.facts) },
    catchUp: () => void catchUp(),
    add: (came: Fact[]) => set((s) => ({ ...s, facts: merge([...came].reverse(), s.facts).slice(0, most) })),
  }
}

function merge(a: Fact[], b: Fact[]): Fact[] {
  const seen = new Set(a.map((f) => f.id))
  return [...a, ...b.filter((f) => !seen.has(f.id))]
}
