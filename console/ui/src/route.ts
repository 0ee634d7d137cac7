// Where in the console we are: #/page/part?query. Parts are percent-encoded, since client ids and topics hold anything.
import { signal } from '@preact/signals'

export interface Route { page: string; parts: string[]; query: URLSearchParams }

const decode = (s: string) => { try { return decodeURIComponent(s) } catch { return s } }

export function parse(hash: string): Route {
  const [where = '', query = ''] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s)
  const [page = '', ...parts] = where.split('/').map(decode)
  return { page: page || 'now', parts, query: new URLSearchParams(query) }
}

export const route = signal(parse(location.hash))

addEventListener('hashchange', () => { route.value = parse(location.hash) })

/** The address of a place in the console. */
export function to(page: string, parts: string[] = [], query: Record<string, string | number | undefined> = {}): string {
  const q = new URLSearchParams()
  for (const [k, v] of Object.entries(query)) if (v !== undefined && v !== '') q.set(k, String(v))
  const text = q.toString()
  return '#/' + [page, ...parts.map(encodeURIComponent)].join('/') + (text ? '?' + text : '')
}

export function go(where: string) { location.hash = where }

/** Changes the query of the present place without a new entry in the history. */
export function requery(change: Record<string, string | undefined>) {
  const { page, parts, query } = route.value
  const next = new URLSearchParams(query)
  for (const [k, v] of Object.entries(change)) if (v === undefined || v === '') next.delete(k); else next.set(k, v)
  const text = next.toString()
  history.replaceState(null, '', '#/' + [page, ...parts.map(encodeURIComponent)].join('/') + (text ? '?' + text : ''))
  route.value = { page, parts, query: next }
}
