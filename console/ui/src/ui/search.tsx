// Jump to a page, a client or a topic.
import { signal } from '@preact/signals'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { get, path } from '../api'
import { rate, term } from '../format'
import { pages } from '../pages'
import { go, to } from '../route'
import type { Client, Page, Topic } from '../types'
import { cx } from './basics'
import { Icon, type IconName } from './icons'

export const searching = signal(false)
export const openSearch = () => { searching.value = true }

interface Hit { key: string; href: string; icon: IconName; text: string; sub?: string; kind: string }

async function find(text: string, abort: AbortSignal): Promise<Hit[]> {
  const filter = text.split(/\s+/).map(term).join(' ')
  const ask = <T,>(base: string) => get<Page<T>>(path(base, { filter, limit: 6 }), { signal: abort }).then((p) => p.items ?? [], () => [] as T[])
  const [clients, topics] = await Promise.all([ask<Client>('/clients'), ask<Topic>('/topics')])
  return [
    ...clients.map((c) => ({ key: 'c' + c.id, href: to('clients', [c.id]), icon: 'clients' as const, text: c.id, sub: [c.user, c.address, c.connected ? 'connected' : 'offline'].filter(Boolean).join(' · '), kind: 'Clients' })),
    ...topics.map((t) => ({ key: 't' + t.topic, href: to('topics', [], { topic: t.topic }), icon: 'topics' as const, text: t.topic, sub: `${rate(t.rate)}/s`, kind: 'Topics' })),
  ]
}

function pageHits(text: string): Hit[] {
  const t = text.toLowerCase()
  return pages.filter((p) => !t || p.title.toLowerCase().includes(t) || p.words.split(' ').some((w) => w.startsWith(t)))
    .map((p) => ({ key: 'p' + p.id, href: to(p.id), icon: p.icon, text: p.title, sub: `g ${p.key}`, kind: 'Pages' }))
}

function lists(text: string): Hit[] {
  const q = term(text)
  return [
    { key: 'lc', href: to('clients', [], { filter: q }), icon: 'filter', text: `All clients with “${text}”`, kind: 'Lists' },
    { key: 'lt', href: to('topics', ['search'], { filter: q }), icon: 'filter', text: `All topics with “${text}”`, kind: 'Lists' },
    { key: 'lp', href: to('topics', ['search'], { payload: text }), icon: 'filter', text: `Messages whose payload has “${text}”`, kind: 'Lists' },
    { key: 'le', href: to('events', [], { text }), icon: 'filter', text: `Events that say “${text}”`, kind: 'Lists' },
  ]
}

export function Search() {
  const ref = useRef<HTMLDialogElement>(null)
  const [text, setText] = useState('')
  const [found, setFound] = useState<{ text: string; hits: Hit[] }>({ text: '', hits: [] })
  const [at, setAt] = useState(0)
  useLayoutEffect(() => { const d = ref.current!; if (!d.open) d.showModal(); return () => d.close() }, [])
  useEffect(() => {
    const t = text.trim()
    if (!t) { setFound({ text: '', hits: [] }); return }
    const abort = new AbortController()
    const timer = setTimeout(() => { find(t, abort.signal).then((hits) => { if (!abort.signal.aborted) setFound({ text: t, hits }) }, () => {}) }, 120)
    return () => { clearTimeout(timer); abort.abort() }
  }, [text])
  const t = text.trim()
  // Until what fits the text is found, what was found before stays as far as it fits, so that nobody picks what is not meant.
  const fitting = found.text === t ? found.hits : found.hits.filter((h) => t.toLowerCase().split(/\s+/).every((w) => `${h.text} ${h.sub}`.toLowerCase().includes(w)))
  const hits = [...pageHits(t), ...fitting, ...(t ? lists(t) : [])]
  const close = () => { searching.value = false }
  const pick = (h: Hit | undefined) => { if (h) { close(); go(h.href) } }
  const key = (e: KeyboardEvent) => {
    if (e.key === 'ArrowDown' || e.key === 'ArrowUp') { e.preventDefault(); setAt((at + (e.key === 'ArrowDown' ? 1 : hits.length - 1)) % Math.max(1, hits.length)) }
    else if (e.key === 'Enter') { e.preventDefault(); pick(hits[Math.min(at, hits.length - 1)]) }
  }
  useLayoutEffect(() => { ref.current?.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' }) }, [at])
  let kind = ''
  return (
    <dialog ref={ref} class="dialog search" aria-label="Search" onCancel={(e) => { e.preventDefault(); close() }} onMouseDown={(e) => { if (e.target === ref.current) close() }}>
      <div class="search-box">
        <Icon name="search" />
        <input role="combobox" aria-expanded="true" aria-controls="hits" aria-activedescendant={hits.length ? `hit-${Math.min(at, hits.length - 1)}` : undefined} aria-label="Search clients, topics, pages"
          placeholder="Client, user, address, topic, page" autofocus spellcheck={false} autocomplete="off" value={text}
          onInput={(e) => { setText(e.currentTarget.value); setAt(0) }} onKeyDown={key} />
        <kbd>Esc</kbd>
      </div>
      <div class="hits" id="hits" role="listbox" aria-label="Found">
        {hits.map((h, i) => {
          const head = h.kind !== kind
          kind = h.kind
          return [
            head && <div key={'k' + h.kind} class="hit-kind" role="presentation">{h.kind}</div>,
            <div key={h.key} id={`hit-${i}`} role="option" aria-selected={i === Math.min(at, hits.length - 1)} class={cx('hit', i === Math.min(at, hits.length - 1) && 'active')} onClick={() => pick(h)} onMouseMove={() => { if (i !== at) setAt(i) }}>
              <Icon name={h.icon} size={17} /><span class="hit-text">{h.text}</span>{h.sub && <span class="hit-sub">{h.sub}</span>}
            </div>,
          ]
        })}
      </div>
    </dialog>
  )
}
