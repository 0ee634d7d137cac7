// The topic tree as far as somebody looked: children are read when a branch is opened, and only what is in sight is read again.
import { signal } from '@preact/signals'
import { get, path, Problem } from './api'
import type { Page, Topic } from './types'

const step = 200
/** So many children of one branch are kept; who needs more searches. */
export const most = 5000

interface Part { cursor: string; keys: string[] }

export interface Branch { open: boolean; loading: boolean; parts: Part[]; next: string | undefined; matched: number | undefined; error?: string }

export type Row =
  | { kind: 'topic'; key: string; depth: number; topic: Topic; open: boolean }
  | { kind: 'more'; key: string; depth: number; parent: string; left: number | undefined; full: boolean; error?: string }

const root = '\u0000'

export class Tree {
  readonly version = signal(0)
  readonly sort: string
  private topics = new Map<string, Topic>()
  private branches = new Map<string, Branch>()
  private abort = new AbortController()
  private flat: Row[] | undefined
  private refreshing = false
  error: Problem | undefined

  constructor(sort: string) { this.sort = sort; void this.more(root) }

  close() { this.abort.abort() }
  get(key: string) { return this.topics.get(key) }
  get loading() { return this.branches.get(root)?.loading ?? false }

  private changed() { this.flat = undefined; this.version.value++ }

  private query(branch: string, cursor: string, limit: number) {
    const where = path('/topics/tree', { sort: this.sort, limit, cursor })
    return branch === root ? where : `${where}&branch=${encodeURIComponent(branch)}`
  }

  /** Reads the next children of a branch. */
  async more(branch: string) {
    let b = this.branches.get(branch)
    if (!b) this.branches.set(branch, (b = { open: true, loading: false, parts: [], next: '', matched: undefined }))
    if (b.loading || b.next === undefined) return
    b.loading = true
    delete b.error
    this.changed()
    try {
      const cursor = b.next
      const page = await get<Page<Topic>>(this.query(branch, cursor, step), { signal: this.abort.signal })
      b.parts.push({ cursor, keys: this.take(page) })
      b.next = page.next || undefined
      b.matched = page.matched ?? page.total
      if (branch === root) this.error = undefined
    } catch (e) {
      if (this.abort.signal.aborted) return
      if (branch === root && e instanceof Problem) this.error = e
      b.error = (e as Error).message
    }
    b.loading = false
    this.changed()
  }

  private take(page: Page<Topic>): string[] {
    return (page.items ?? []).map((t) => { this.topics.set(t.topic, t); return t.topic })
  }

  async toggle(key: string, open = !this.branches.get(key)?.open) {
    const t = this.topics.get(key)
    if (!t?.branch && !t?.children) return
    const b = this.branches.get(key)
    if (!open) { if (b) this.close1(key) }
    else if (b) { b.open = true; this.changed() }
    else await this.more(key)
  }

  /** A closed branch forgets what is below it, so that memory is that of what is open. */
  private close1(key: string) {
    const forget = (k: string) => {
      const b = this.branches.get(k)
      if (!b) return
      for (const p of b.parts) for (const child of p.keys) { forget(child); this.topics.delete(child) }
      this.branches.delete(k)
    }
    forget(key)
    this.changed()
  }

  /** Opens every branch on the way to a topic, as far as its levels are among what was read. */
  async reveal(topic: string) {
    const levels = topic.split('/')
    for (let i = 1; i < levels.length; i++) await this.toggle(levels.slice(0, i).join('/'), true)
  }

  rows(): Row[] {
    if (this.flat) return this.flat
    const out: Row[] = []
    const walk = (key: string, depth: number) => {
      const b = this.branches.get(key)
      if (!b?.open) return
      let n = 0
      for (const p of b.parts) for (const child of p.keys) {
        const topic = this.topics.get(child)
        if (!topic) continue
        n++
        const open = this.branches.get(child)?.open ?? false
        out.push({ kind: 'topic', key: child, depth, topic, open })
        if (open) walk(child, depth + 1)
      }
      if (key === root && this.error && n === 0) return
      if (b.next !== undefined || b.loading) out.push({ kind: 'more', key: key + '\u0001', depth, parent: key, left: b.matched === undefined ? undefined : b.matched - n, full: n >= most, ...(b.error ? { error: b.error } : {}) })
    }
    walk(root, 0)
    return (this.flat = out)
  }

  /** Reads again the parts of branches that have a row in sight. */
  async refresh(seen: Row[]) {
    if (this.refreshing) return
    this.refreshing = true
    try {
      const keys = new Set(seen.filter((r) => r.kind === 'topic').map((r) => r.key))
      for (const [branch, b] of this.branches) for (const p of b.parts) {
        if (!p.keys.some((k) => keys.has(k))) continue
        const page = await get<Page<Topic>>(this.query(branch, p.cursor, step), { signal: this.abort.signal })
        p.keys = this.take(page)
      }
      this.changed()
    } catch { /* it is read again soon */ } finally { this.refreshing = false }
  }
}
