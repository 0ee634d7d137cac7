// A real table of which only the rows in sight exist, above a window of the server's list.
import type { ComponentChildren } from 'preact'
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Query } from '../api'
import { full } from '../format'
import { go } from '../route'
import { Pager } from '../pager'
import { cx, Empty, Failure } from './basics'
import { Icon } from './icons'

export interface Column<T> {
  id: string; title: string; width?: string; right?: boolean; sort?: string; render: (row: T) => ComponentChildren
  /** Left out when the table is narrower than so many pixels. */
  from?: number; hint?: string
  /** Left out when the table is at least so wide. */
  below?: number
  /** Its title is for screen readers alone. */
  bare?: boolean
}

/** A window of a list. It is read anew when the query changes, and what is in sight every so often. skips tells that the list takes skip. */
export function usePager<T>(base: string, query: Query, every = 0, skips = false): Pager<T> {
  const pager = useMemo(() => new Pager<T>(base, query, skips), [JSON.stringify([base, query, skips])])
  useEffect(() => {
    pager.show(0, 0)
    const stop = every > 0 ? again(every, async () => { if (!pager.error?.missing) await pager.refresh() }) : () => {}
    return () => { stop(); pager.close() }
  }, [pager, every])
  return pager
}

/** Does it again and again while the page is in sight, but waits so much longer than it takes that a long list costs the server little. */
export function again(every: number, run: () => Promise<void>): () => void {
  let timer = 0, ended = false
  const next = (took: number) => { if (!ended) timer = window.setTimeout(turn, Math.min(60_000, Math.max(every, took * 30))) }
  const turn = async () => {
    const began = performance.now()
    try { if (!document.hidden) await run() } finally { next(document.hidden ? 0 : performance.now() - began) }
  }
  next(0)
  return () => { ended = true; clearTimeout(timer) }
}

/** One row. What is drawn stays until the row itself is another. */
function Line<T>({ row, index, shown, pickable, picked, act }: { row: T; index: number; shown: Column<T>[]; pickable: boolean; picked: boolean; act: (row: T) => void }) {
  return useMemo(() => (
    <tr aria-rowindex={index} class={cx(pickable && 'pickable', picked && 'picked')} onClick={(e) => { if (!(e.target as Element).closest('a,button,input') && !getSelection()?.toString()) act(row) }}>
      {shown.map((c) => <td key={c.id} class={c.right ? 'right' : undefined}>{c.render(row)}</td>)}
    </tr>
  ), [row, index, shown, pickable, picked])
}

const over = 12
/** From how many seconds on the age of an order is worth a word. */
const old = 3
const count = (n: number, what: string) => `${full(n)} ${n === 1 ? what.replace(/s$/, '') : what}`

interface TableProps<T> {
  pager: Pager<T>; columns: Column<T>[]; label: string; rowKey: (row: T) => string; what: string; rowHeight?: number
  href?: (row: T) => string; onPick?: (row: T) => void; picked?: string | undefined
  sort?: string | undefined; onSort?: (sort: string) => void; empty?: ComponentChildren
}

export function VirtualTable<T>({ pager, columns, label, rowKey, what, rowHeight = 34, href, onPick, picked, sort, onSort, empty }: TableProps<T>) {
  const box = useRef<HTMLDivElement>(null)
  const [view, setView] = useState({ top: 0, height: 600, width: 1200 })
  useLayoutEffect(() => {
    const el = box.current!
    // What is seen changes by some rows at a time, so that most frames of a scroll draw nothing.
    const step = rowHeight * (over / 2)
    const read = () => setView((old) => {
      const top = Math.floor(el.scrollTop / step) * step
      return old.top === top && old.height === el.clientHeight && old.width === el.clientWidth ? old : { top, height: el.clientHeight, width: el.clientWidth }
    })
    let frame = 0
    const soon = () => { if (!frame) frame = requestAnimationFrame(() => { frame = 0; read() }) }
    const ro = new ResizeObserver(soon)
    ro.observe(el)
    el.addEventListener('scroll', soon, { passive: true })
    read()
    return () => { ro.disconnect(); el.removeEventListener('scroll', soon); cancelAnimationFrame(frame) }
  }, [])
  useLayoutEffect(() => { if (box.current) box.current.scrollTop = 0 }, [pager])
  void pager.version.value
  const length = pager.length
  const first = Math.max(0, Math.min(Math.floor(view.top / rowHeight), length - 1) - over)
  const last = Math.min(length, Math.ceil((view.top + view.height) / rowHeight) + over)
  useEffect(() => {
    // While somebody drags the bar over many rows, nothing is asked for.
    const t = setTimeout(() => pager.show(first, Math.max(first, last - 1)), 60)
    return () => clearTimeout(t)
  }, [pager, first, last])
  const fits = columns.map((c) => ((!c.from || view.width >= c.from) && (!c.below || view.width < c.below) ? '1' : '0')).join('')
  const shown = useMemo(() => columns.filter((_, i) => fits[i] === '1'), [columns, fits])
  const by = sort?.replace(/^-/, '')
  const doing = useRef({ href, onPick })
  doing.current = { href, onPick }
  const act = useCallback((row: T) => { const { href, onPick } = doing.current; if (onPick) onPick(row); else if (href) go(href(row)) }, [])
  const rows = []
  for (let i = first; i < last; i++) {
    const row = pager.row(i)
    rows.push(row === undefined
      ? <tr key={'?' + i} aria-hidden="true" class="ghost"><td colSpan={shown.length}><div class="bone" /></td></tr>
      : <Line key={rowKey(row)} row={row} index={i + 2} shown={shown} pickable={!!(href || onPick)} picked={picked === rowKey(row)} act={act} />)
  }
  return (
    <div class="vtable">
      <div class="vtable-box" ref={box} tabIndex={0} role="region" aria-label={label}>
        <table class="table" aria-rowcount={length + 1} style={{ '--row': `${rowHeight}px` } as never}>
          <caption class="sr">{label}</caption>
          <colgroup>{shown.map((c) => <col key={c.id} style={c.width && !(view.width < 700 && c.width.endsWith('%')) ? { width: c.width } : {}} />)}</colgroup>
          <thead><tr aria-rowindex={1}>{shown.map((c) => {
            const active = c.sort !== undefined && c.sort === by
            const dir = active ? (sort!.startsWith('-') ? 'descending' : 'ascending') : undefined
            return (
              <th key={c.id} scope="col" class={c.right ? 'right' : undefined} aria-sort={dir} title={c.hint}>
                {c.sort && onSort
                  ? <button class={cx('sort', active && 'active')} onClick={() => onSort(active ? (sort!.startsWith('-') ? c.sort! : '-' + c.sort) : (c.right ? '-' : '') + c.sort)}>{c.title}{active && <Icon name={dir === 'descending' ? 'down' : 'up'} size={12} />}</button>
                  : c.bare ? <span class="sr">{c.title}</span> : c.title}
              </th>
            )
          })}</tr></thead>
          <tbody>
            {first > 0 && <tr aria-hidden="true" class="space" style={{ height: `${first * rowHeight}px` }}><td colSpan={shown.length} /></tr>}
            {rows}
            {last < length && <tr aria-hidden="true" class="space" style={{ height: `${(length - last) * rowHeight}px` }}><td colSpan={shown.length} /></tr>}
          </tbody>
        </table>
        {length === 0 && (pager.error ? <Failure error={pager.error} what={what} retry={() => pager.show(0, 0)} />
          : pager.ended ? (empty ?? <Empty title={`There are no ${what}`} />) : <div class="loading">{Array.from({ length: 8 }, (_, i) => <div key={i} class="bone" />)}</div>)}
      </div>
      <div class="vtable-foot" aria-live="polite">
        {length > 0 && pager.error ? <span class="bad-text">{pager.error.message}</span>
          : pager.seeking ? <span>Reading on to row {full(first + 1)} …</span>
          : pager.matched !== undefined ? <span>{pager.total !== undefined && pager.total !== pager.matched ? `${full(pager.matched)} of ${full(pager.total)} ${what}` : count(pager.matched, what)}</span>
          : pager.ended ? <span>{count(length, what)}</span> : length > 0 ? <span>more than {full(length - 1)} {what}</span> : null}
        {length > 0 && pager.age >= old && <span class="faint" aria-live="off" title="What the rows say is read every second; which rows there are, and their order, less often, as there are many">order of {Math.round(pager.age)} s ago</span>}
      </div>
    </div>
  )
}
