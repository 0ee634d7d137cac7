// The one live stream of the page: figures once a second, and facts as they happen.
import { computed, signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { apiRoot, get, me, Problem } from './api'
import type { Fact, Load, Stats } from './types'

export type State = 'off' | 'connecting' | 'live' | 'lost' | 'polling'

export const state = signal<State>('off')
export const stats = signal<Stats | undefined>(undefined)
export const load = signal<Load | undefined>(undefined)
/** The latest facts of the stream, newest first, while a page asked for them. */
export const facts = signal<Fact[]>([])
/** How many facts this page was too slow for. */
export const missed = signal(0)
/** When the stream will be tried again, in milliseconds since 1970. */
export const retryAt = signal(0)

export const ringLength = 300
export interface Point { at: number; in: number; out: number; connected: number; drops: number; cpu: number }
/** The last minutes as they were seen here, oldest first. */
export const ring = signal<Point[]>([])

export const connected = computed(() => stats.value?.clients.connected)

/** Time as pages that say "3 min ago" see it. */
export const now = signal(Date.now())
setInterval(() => { if (!document.hidden) now.value = Date.now() }, 5000)

const wanted = new Map<string, number>([['stats', 1]])
let source: EventSource | undefined
let watching = ''
let timer = 0
let attempt = 0
let heard = 0
/** A stream was open once, so that this server has them. */
let known = false

const watch = () => [...wanted].filter(([, n]) => n > 0).map(([k]) => k).sort().join(',')

function took(s: Stats) {
  stats.value = s
  now.value = Date.now()
  const r = s.rates ?? {}
  const point = { at: Date.parse(s.at) || Date.now(), in: r.in_messages ?? 0, out: r.out_messages ?? 0, connected: s.clients.connected, drops: r.drops ?? 0, cpu: load.value?.cpu ?? 0 }
  ring.value = [...ring.value.slice(-(ringLength - 1)), point]
}

function stop() {
  clearTimeout(timer)
  source?.close()
  source = undefined
}

function later() {
  stop()
  const wait = Math.min(30_000, 1000 * 2 ** attempt) * (0.75 + Math.random() / 2)
  attempt++
  state.value = 'lost'
  retryAt.value = Date.now() + wait
  timer = window.setTimeout(open, wait)
}

const json = <T,>(e: Event): T | undefined => { try { return JSON.parse((e as MessageEvent).data) } catch { return undefined } }

function open() {
  stop()
  if (!me.value) { state.value = 'off'; return }
  watching = watch()
  // A server that doesn't know one of the things to watch refuses the stream: then the figures alone.
  const asked = !known && attempt % 2 === 1 ? 'stats' : watching
  if (state.value !== 'lost' && state.value !== 'live') state.value = 'connecting'
  const s = source = new EventSource(`${apiRoot}/stream?watch=${asked}`)
  const alive = () => { known = true; heard = Date.now(); attempt = 0; if (state.value !== 'live') state.value = 'live' }
  s.onopen = alive
  s.addEventListener('stats', (e) => { alive(); const v = json<Stats>(e); if (v?.clients) took(v) })
  s.addEventListener('load', (e) => { alive(); const v = json<Load>(e); if (v) load.value = v })
  s.addEventListener('fact', (e) => { alive(); const v = json<Fact>(e); if (v) facts.value = [v, ...facts.value.slice(0, 199)] })
  s.addEventListener('gone', (e) => { alive(); missed.value += json<{ lost?: number }>(e)?.lost ?? 0 })
  s.onerror = () => { if (source === s) void check() }
}

/** After the stream broke: is it the login, a server without a stream, or the network? */
async function check() {
  stop()
  try {
    await get('/me')
  } catch (e) {
    if (e instanceof Problem && e.status === 401) { state.value = 'off'; return }
    if (!(e instanceof Problem) || !e.missing) { later(); return }
  }
  if (!known && attempt >= 2) { void poll(); return }
  later()
}

/** Without a stream the figures are read every few seconds, and the stream is tried again now and then. */
async function poll() {
  try {
    took(await get<Stats>('/stats'))
    if ((wanted.get('load') ?? 0) > 0) load.value = await get<Load>('/load')
    state.value = 'polling'
  } catch (e) {
    if (e instanceof Problem && e.missing) { state.value = 'polling'; timer = window.setTimeout(open, 60_000); return }
    later()
    return
  }
  timer = window.setTimeout(poll, 5000)
}

// A connection that says nothing for long is dead, even if nobody closed it.
setInterval(() => { if (state.value === 'live' && Date.now() - heard > 20_000 && !document.hidden) later() }, 5000)
addEventListener('online', () => { if (state.value === 'lost') { attempt = 0; open() } })

export function start() { attempt = 0; open() }
export function end() { stop(); state.value = 'off'; stats.value = undefined; load.value = undefined; facts.value = []; ring.value = [] }
export function retryNow() { attempt = 0; open() }

/** Adds load or events to the stream while the component is there. */
export function useWatch(...kinds: ('load' | 'events')[]) {
  useEffect(() => {
    for (const k of kinds) wanted.set(k, (wanted.get(k) ?? 0) + 1)
    const settle = () => setTimeout(() => { if (source && watch() !== watching) open() }, 80)
    settle()
    return () => {
      for (const k of kinds) wanted.set(k, (wanted.get(k) ?? 1) - 1)
      settle()
    }
  }, [kinds.join()])
}
