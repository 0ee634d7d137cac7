// A list of the server as a window: pages by cursor, of which only those near the eye are kept.
import { signal } from '@preact/signals'
import { get, path, Problem, type Query } from './api'
import type { Page } from './types'

export const pageSize = 200
const keep = 8
/** Pages in a long step; the API gives 1,000 rows at most. */
const stride = 5

/** What was read of the list in one direction. */
class Side<T> {
  pages = new Map<number, { rows: T[]; used: number }>()
  cursors: (string | undefined)[] = ['']
  readonly sort: string | undefined
  constructor(sort: string | undefined) { this.sort = sort }
}

const turned = (sort: string) => sort.split(',').map((f) => (f.startsWith('-') ? f.slice(1) : '-' + f)).join(',')

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

  // Cursors only lead on. Where the order is total, the second half is read from the end, in the opposite order.
  private ahead: Side<T>
  private back: Side<T> | undefined
  private want: { side: Side<T>; a: number; b: number }
  private abort = new AbortController()
  private busy = false
  private clock = 0
  private known = 0

  /** key is the field that tells items apart, if the list can be sorted by it. */
  constructor(base: string, query: Query, key?: string) {
    this.base = base
    this.query = query
    const sort = key === undefined ? undefined : [...String(query['sort'] || key).split(','), key].filter((f, i, all) => all.findIndex((g) => g.replace('-', '') === f.replace('-', '')) === i).join(',')
    this.ahead = new Side(sort)
    if (sort !== undefined) this.back = new Side(turned(sort))
    this.want = { side: this.ahead, a: 0, b: 0 }
  }

  /** Rows that can be scrolled to: all that match, where the server says how many; else what is known and one more page. */
  get length(): number {
    if (this.matched !== undefined && !this.ended) return Math.max(this.matched, this.known)
    return this.known
  }

  get loading() { return this.busy }

  row(i: number): T | undefined {
    const p = this.ahead.pages.get(Math.floor(i / pageSize))
    if (p) return p.rows[i % pageSize]
    const j = this.length - 1 - i
    return this.back?.pages.get(Math.floor(j / pageSize))?.rows[j % pageSize]
  }

  /** Asks for rows first to last; they come when they come. */
  show(first: number, last: number) {
    last = Math.max(first, last)
    const n = this.length, near = this.ahead.cursors.length * pageSize
    const fromEnd = this.back !== undefined && this.matched !== undefined && n - last + stride * pageSize < first - near
    const side = fromEnd ? this.back! : this.ahead
    const [a, b] = fromEnd ? [n - 1 - last, n - 1 - first] : [first, last]
    this.want = { side, a: Math.max(0, Math.floor(a / pageSize)), b: Math.max(0, Math.floor(b / pageSize)) }
    for (let p = this.want.a; p <= this.want.b; p++) { const page = side.pages.get(p); if (page) page.used = ++this.clock }
    void this.fill()
  }

  private missing(): number | undefined {
    const { side, a, b } = this.want
    for (let p = a; p <= b; p++) {
      if (!side.pages.has(p) && !(p > 0 && (this.ended || side !== this.ahead) && p * pageSize >= this.length)) return p
    }
    return undefined
  }

  private async fill() {
    if (this.busy) return
    this.busy = true
    try {
      let p: number | undefined
      while (!this.abort.signal.aborted && (p = this.missing()) !== undefined) {
        const { side } = this.want
        // What lies far ahead is reached by long steps.
        let at = p
        while (at > 0 && side.cursors[at] === undefined) at--
        this.seeking = at < p - 1
        if (!(await this.read(side, at, p - at >= stride ? stride : 1))) break
      }
    } finally {
      this.busy = false
      this.seeking = false
      this.version.value++
    }
  }

  private async read(side: Side<T>, p: number, pages = 1): Promise<boolean> {
    try {
      const page = await get<Page<T>>(path(this.base, { ...this.query, ...(side.sort !== undefined ? { sort: side.sort } : {}), limit: pageSize * pages, cursor: side.cursors[p] }), { signal: this.abort.signal })
      const rows = page.items ?? []
      this.error = undefined
      this.total = page.total ?? this.total
      this.matched = page.matched ?? this.matched ?? page.total
      for (let i = 0; i < pages; i++) {
        if (pages === 1 || (side === this.want.side && p + i >= this.want.a && p + i <= this.want.b)) side.pages.set(p + i, { rows: same(side.pages.get(p + i)?.rows, rows.slice(i * pageSize, (i + 1) * pageSize)), used: ++this.clock })
      }
      if (page.next) side.cursors[p + pages] = page.next
      else side.cursors.length = p + 1
      if (side === this.ahead) {
        this.ended = !page.next
        this.known = page.next ? Math.max(this.known, (p + pages) * pageSize + (this.matched === undefined ? 1 : 0)) : p * pageSize + rows.length
      }
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
    const all = [this.ahead, this.back].flatMap((side) => (side ? [...side.pages].map(([p, page]) => ({ side, p, used: page.used })) : []))
    const { side, a, b } = this.want
    const old = all.filter((x) => x.side !== side || x.p < a || x.p > b).sort((x, y) => x.used - y.used)
    for (const x of old.slice(0, Math.max(0, all.length - keep))) x.side.pages.delete(x.p)
  }

  /** Reads what is in sight again. */
  async refresh() {
    if (this.busy) return
    this.busy = true
    const { side, a, b } = this.want
    try {
      for (let p = a; p <= b; p++) {
        if (side.cursors[p] === undefined || !(await this.read(side, p))) break
      }
    } finally { this.busy = false; this.version.value++ }
    void this.fill()
  }

  close() { this.abort.abort() }
}
