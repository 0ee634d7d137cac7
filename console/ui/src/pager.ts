// A list of the server as a window: pages by cursor, of which only those near the eye are kept.
import { signal } from '@preact/signals'
import { get, path, Problem, type Query } from './api'
import type { Page } from './types'

export const pageSize = 200
const keep = 8
/** Pages in a long step; the API gives 1,000 rows at most. */
const stride = 5

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

  private pages = new Map<number, { rows: T[]; used: number }>()
  private cursors: (string | undefined)[] = ['']
  private abort = new AbortController()
  private want: [number, number] = [0, 0]
  private busy = false
  private clock = 0
  private known = 0

  constructor(base: string, query: Query) { this.base = base; this.query = query }

  /** Rows that can be scrolled to: all that match, where the server says how many; else what is known and one more page. */
  get length(): number {
    if (this.matched !== undefined && !this.ended) return Math.max(this.matched, this.known)
    return this.known
  }

  get loading() { return this.busy }

  row(i: number): T | undefined {
    const p = this.pages.get(Math.floor(i / pageSize))
    return p?.rows[i % pageSize]
  }

  /** Asks for rows first to last; they come when they come. */
  show(first: number, last: number) {
    const a = Math.max(0, Math.floor(first / pageSize)), b = Math.max(a, Math.floor(Math.max(0, last) / pageSize))
    this.want = [a, b]
    for (let p = a; p <= b; p++) { const page = this.pages.get(p); if (page) page.used = ++this.clock }
    void this.fill()
  }

  private missing(): number | undefined {
    for (let p = this.want[0]; p <= this.want[1]; p++) {
      if (!this.pages.has(p) && !(this.ended && p * pageSize >= this.known)) return p
    }
    return undefined
  }

  private async fill() {
    if (this.busy) return
    this.busy = true
    try {
      let p: number | undefined
      while (!this.abort.signal.aborted && (p = this.missing()) !== undefined) {
        // Cursors only lead on: what lies far ahead is reached by long steps.
        let at = p
        while (at > 0 && this.cursors[at] === undefined) at--
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
      const page = await get<Page<T>>(path(this.base, { ...this.query, limit: pageSize * pages, cursor: this.cursors[p] }), { signal: this.abort.signal })
      const rows = page.items ?? []
      this.error = undefined
      this.total = page.total ?? this.total
      this.matched = page.matched ?? this.matched ?? page.total
      for (let i = 0; i < pages; i++) {
        if (pages === 1 || (p + i >= this.want[0] && p + i <= this.want[1])) this.pages.set(p + i, { rows: rows.slice(i * pageSize, (i + 1) * pageSize), used: ++this.clock })
      }
      if (page.next) this.cursors[p + pages] = page.next
      else { this.cursors.length = p + 1; this.ended = true; this.known = p * pageSize + rows.length }
      if (page.next) { this.ended = false; this.known = Math.max(this.known, (p + pages) * pageSize + (this.matched === undefined ? 1 : 0)) }
      this.forget()
      this.version.value++
      return true
    } catch (e) {
      if (this.abort.signal.aborted) return false
      this.error = e instanceof Problem ? e : new Problem(0, String(e))
      this.version.value++
      return false
    }
  }

  private forget() {
    if (this.pages.size <= keep) return
    const old = [...this.pages].filter(([p]) => p < this.want[0] || p > this.want[1]).sort((a, b) => a[1].used - b[1].used)
    for (const [p] of old.slice(0, this.pages.size - keep)) this.pages.delete(p)
  }

  /** Reads what is in sight again. */
  async refresh() {
    if (this.busy) return
    this.busy = true
    try {
      for (let p = this.want[0]; p <= this.want[1]; p++) {
        if (this.cursors[p] === undefined || !(await this.read(p))) break
      }
    } finally { this.busy = false; this.version.value++ }
    void this.fill()
  }

  close() { this.abort.abort() }
}
