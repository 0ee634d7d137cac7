// A list of the server as a window: pages, of which only those near the eye are kept.
import { signal } from '@preact/signals'
import { get, path, Problem, type Query } from './api'
import type { Page } from './types'

export const pageSize = 100
const keep = 16
/** Pages in a long step; the API gives 1,000 rows at most. */
const stride = 10

/** Rows that are as before stay the same objects, so that nothing draws them again. */
function same<T>(before: T[] | undefined, rows: T[]): T[] {
  return before ? rows.map((r, i) => (before[i] !== undefined && JSON.stringify(before[i]) === JSON.stringify(r) ? before[i]! : r)) : rows
}

export class Pager<T> {
  /** Grows with every change; what renders rows reads it. */
  readonly version = signal(0)
  readonly base: string
  readonly query: Query
  total: number | undefined
  matched: number | undefined
  error: Problem | undefined
  /** Whether the end is known. */
  ended = false
  /** How far the cursors reach while somebody waits for a page beyond. */
  seeking = false
  /** How old it is which rows there are and in which order, in seconds; the rows themselves may be newer. */
  age = 0

  private pages = new Map<number, { rows: T[]; used: number }>()
  /** What leads to the page after the one before it. */
  private cursors: (string | undefined)[] = ['']
  private want = { a: 0, b: 0 }
  private abort = new AbortController()
  private busy = false
  private clock = 0
  private known = 0
  private readonly skips: boolean

  /** skips tells that the list takes skip: any page is one request away. Others are walked through, page by page. */
  constructor(base: string, query: Query, skips: boolean) {
    this.base = base
    this.query = query
    this.skips = skips
  }

  /** Rows that can be scrolled to: all that match, where the server says how many; else what is known and one more page. */
  get length(): number { return this.matched ?? this.known }

  get loading() { return this.busy }

  row(i: number): T | undefined { return this.pages.get(Math.floor(i / pageSize))?.rows[i % pageSize] }

  /** Asks for rows first to last; they come when they come. */
  show(first: number, last: number) {
    this.want = { a: Math.max(0, Math.floor(first / pageSize)), b: Math.max(0, Math.floor(Math.max(first, last) / pageSize)) }
    for (let p = this.want.a; p <= this.want.b; p++) { const page = this.pages.get(p); if (page) page.used = ++this.clock }
    void this.fill()
  }

  private missing(): number | undefined {
    for (let p = this.want.a; p <= this.want.b; p++) {
      if (!this.pages.has(p) && !(p > 0 && this.ended && p * pageSize >= this.length)) return p
    }
    return undefined
  }

  private async fill() {
    if (this.busy) return
    this.busy = true
    try {
      let p: number | undefined
      while (!this.abort.signal.aborted && (p = this.missing()) !== undefined) {
        // Without skip, what lies far ahead is reached by long steps.
        let at = p
        while (!this.skips && at > 0 && this.cursors[at] === undefined) at--
        this.seeking = at < p - 1
        if (!(await this.read(at, p - at >= stride ? stride : 1))) break
      }
    } finally {
      this.busy = false
      this.seeking = false
      this.version.value++
    }
  }

  private async read(p: number, pages = 1): Promise<boolean> {
    try {
      const from = this.skips ? { skip: p * pageSize || undefined } : { cursor: this.cursors[p] }
      const page = await get<Page<T>>(path(this.base, { ...this.query, limit: pageSize * pages, ...from }), { signal: this.abort.signal })
      const rows = page.items ?? []
      this.error = undefined
      this.total = page.total ?? this.total
      this.matched = page.matched ?? this.matched ?? page.total
      this.age = page.age_seconds ?? 0
      for (let i = 0; i < pages; i++) {
        if (pages === 1 || (p + i >= this.want.a && p + i <= this.want.b)) this.pages.set(p + i, { rows: same(this.pages.get(p + i)?.rows, rows.slice(i * pageSize, (i + 1) * pageSize)), used: ++this.clock })
      }
      if (page.next) this.cursors[p + pages] = page.next
      else this.cursors.length = Math.min(this.cursors.length, p + 1)
      this.ended = !page.next
      this.known = page.next ? Math.max(this.known, (p + pages) * pageSize + 1) : p * pageSize + rows.length
      this.forget()
      this.version.value++
      return rows.length > 0 || !!page.next || p === 0
    } catch (e) {
      if (this.abort.signal.aborted) return false
      this.error = e instanceof Problem ? e : new Problem(0, String(e))
      this.version.value++
      return false
    }
  }

  private forget() {
    const old = [...this.pages].filter(([p]) => p < this.want.a || p > this.want.b).sort(([, x], [, y]) => x.used - y.used)
    for (const [p] of old.slice(0, Math.max(0, this.pages.size - keep))) this.pages.delete(p)
  }

  /** Reads what is in sight again. */
  async refresh() {
    if (this.busy) return
    this.busy = true
    const { a, b } = this.want
    try {
      for (let p = a; p <= b; p++) {
        if ((!this.skips && this.cursors[p] === undefined) || !(await this.read(p))) break
      }
    } finally { this.busy = false; this.version.value++ }
    void this.fill()
  }

  close() { this.abort.abort() }
}
