// The one module that talks HTTP. Paths are relative to the page, so that the console works below any path of a proxy.
import { signal } from '@preact/signals'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Me, Page } from './types'

export const root = new URL('.', document.baseURI).href
export const apiRoot = root + 'api/v1'

/** Who is logged in: undefined while nobody knows, null when nobody is. */
export const me = signal<Me | null | undefined>(undefined)

const ranks = { viewer: 0, operator: 1, admin: 2 }

/** Whether the role of who is logged in is at least this one. */
export const can = (role: keyof typeof ranks) => (ranks[me.value?.role ?? 'viewer'] ?? 0) >= ranks[role]

/** An answer that is no success: a problem detail (RFC 9457), or no answer at all (status 0). */
export class Problem extends Error {
  status: number
  constructor(status: number, text: string) {
    super(text)
    this.status = status
  }
  /** The server does not know the path: it is older, or was built or configured without that. */
  get missing() { return this.status === 404 || this.status === 405 || this.status === 501 }
}

export type Query = Record<string, string | number | boolean | undefined | null>

/** A path with its query; what is empty is left out. */
export function path(base: string, query: Query = {}): string {
  const parts = Object.entries(query)
    .filter(([, v]) => v !== undefined && v !== null && v !== '')
    .map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(String(v))}`)
  return parts.length ? `${base}?${parts.join('&')}` : base
}

/** One element of a path, whatever it contains. */
export const seg = encodeURIComponent

async function problem(r: Response): Promise<Problem> {
  let text = ''
  try {
    const body = await r.json()
    text = body.detail || body.title || ''
    for (const e of body.errors ?? []) text += `${text ? '; ' : ''}${e.location ? e.location + ': ' : ''}${e.message}`
  } catch { /* no JSON: the status says it */ }
  return new Problem(r.status, text || `${r.status} ${r.statusText}`.trim())
}

export interface CallOptions { signal?: AbortSignal; headers?: Record<string, string>; raw?: boolean }

/** Sends one request. A 401 makes the console ask who you are again, unless it is the answer to a login. */
export async function call<T>(method: string, where: string, body?: unknown, options: CallOptions = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json', 'X-Requested-With': 'sapwood-console', ...options.headers }
  if (body !== undefined && !options.raw) headers['Content-Type'] = 'application/json'
  if (method !== 'GET' && me.value?.csrf) headers['X-CSRF-Token'] = me.value.csrf
  let r: Response
  try {
    r = await fetch(apiRoot + where, {
      method, headers, body: body === undefined ? null : options.raw ? (body as BodyInit) : JSON.stringify(body),
      credentials: 'same-origin', cache: 'no-store', signal: options.signal ?? null,
    })
  } catch (e) {
    if ((e as Error).name === 'AbortError') throw e
    throw new Problem(0, 'the server does not answer')
  }
  if (r.status === 401 && where !== '/login') me.value = null
  if (!r.ok) throw await problem(r)
  if (r.status === 204) return undefined as T
  const text = await r.text()
  if (!text) return undefined as T
  // Long tasks answer with lines of progress; the last one has the result.
  if (r.headers.get('Content-Type')?.includes('ndjson')) {
    const last = JSON.parse(text.trimEnd().split('\n').at(-1)!)
    if (last.error) throw new Problem(r.status, last.error)
    return (last.result ?? last) as T
  }
  return JSON.parse(text) as T
}

export const get = <T,>(where: string, options?: CallOptions) => call<T>('GET', where, undefined, options)
export const post = <T,>(where: string, body?: unknown, options?: CallOptions) => call<T>('POST', where, body, options)

export async function whoAmI(): Promise<void> {
  try {
    me.value = await get<Me>('/me')
  } catch (e) {
    if (e instanceof Problem && e.missing) {
      // A server without logins lets the page in, or asks by itself.
      try { await get('/status'); me.value = { user: '', role: 'admin' } } catch { me.value = null }
    } else if (me.value === undefined) me.value = null
  }
}

export async function login(user: string, password: string): Promise<void> {
  const answer = await post<Me | undefined>('/login', { user, password })
  if (answer?.role) me.value = answer
  else await whoAmI()
}

export async function logout(): Promise<void> {
  try { await post('/logout') } finally { me.value = null }
}

export interface Loaded<T> { data: T | undefined; error: Problem | undefined; loading: boolean; reload: () => void }

/**
 * Reads a path, again whenever it changes, and every so many milliseconds while the page is in sight.
 * What was read stays until there is something newer of the same path. A null path reads nothing.
 */
export function useLoad<T>(where: string | null, every = 0, read: (where: string, options: CallOptions) => Promise<T> = get): Loaded<T> {
  const [state, set] = useState<{ where: string | null; data?: T; error?: Problem; loading: boolean }>({ where: null, loading: where !== null })
  const [round, again] = useState(0)
  const silent = useRef(false)
  useEffect(() => {
    if (where === null) return
    const abort = new AbortController()
    let timer = 0
    const turn = async () => {
      if (silent.current && document.hidden) { timer = window.setTimeout(turn, every); return }
      try {
        const data = await read(where, { signal: abort.signal })
        set({ where, data, loading: false })
      } catch (e) {
        if (abort.signal.aborted) return
        const error = e instanceof Problem ? e : new Problem(0, String(e))
        set((old) => ({ where, ...(old.where === where && old.data !== undefined && !error.missing ? { data: old.data } : {}), error, loading: false }))
        if (error.missing) return
      }
      silent.current = true
      if (every > 0 && !abort.signal.aborted) timer = window.setTimeout(turn, every)
    }
    silent.current = false
    set((old) => (old.where === where ? { ...old, loading: true } : { where, loading: true }))
    void turn()
    return () => { abort.abort(); clearTimeout(timer) }
  }, [where, every, round])
  const current = state.where === where
  return {
    data: current ? state.data : undefined, error: current ? state.error : undefined,
    loading: where !== null && (!current || state.loading), reload: () => again((n) => n + 1),
  }
}

/** All of a list, page by page. */
async function whole<T>(where: string, options: CallOptions): Promise<T[]> {
  const all: T[] = []
  let cursor: string | undefined
  do {
    const page = await get<Page<T>>(path(where, { limit: 1000, cursor }), options)
    all.push(...(page.items ?? []))
    cursor = page.next
  } while (cursor)
  return all
}

/** Reads all of a list that fits on one page as a rule. */
export const useList = <T,>(where: string, every = 0) => useLoad<T[]>(where, every, whole)
