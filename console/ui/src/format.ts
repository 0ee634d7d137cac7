// Numbers, times and words as people read them.

const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 })
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

/** A count, in full up to five digits. */
export function num(n: number | undefined | null): string {
  if (n === undefined || n === null || Number.isNaN(n)) return '–'
  return Math.abs(n) < 100_000 ? whole.format(n) : short.format(n)
}

export const full = (n: number) => whole.format(n)

/** A count with its noun, such as 1 message. */
export const counted = (n: number | undefined | null, one: string, many = one + 's') => `${num(n)} ${n === 1 ? one : many}`

/** A rate per second. */
export function rate(n: number | undefined | null): string {
  if (n === undefined || n === null || Number.isNaN(n)) return '–'
  if (n === 0) return '0'
  if (n < 0.01) return '<0.01'
  if (n < 10) return n.toFixed(n < 1 ? 2 : 1)
  return num(Math.round(n))
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

export function bytes(n: number | undefined | null): string {
  if (n === undefined || n === null || Number.isNaN(n)) return '–'
  let i = 0
  while (Math.abs(n) >= 1024 && i < units.length - 1) { n /= 1024; i++ }
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`
}

/** A length of time in its one or two largest units. */
export function span(seconds: number | undefined | null): string {
  if (seconds === undefined || seconds === null || Number.isNaN(seconds)) return '–'
  if (seconds < 0) return 'never'
  if (seconds === 0) return '0 s'
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`
  if (seconds < 1) return `${trim(seconds * 1000)} ms`
  if (seconds < 60) return `${trim(seconds)} s`
  if (seconds < 3600) return two(seconds, 60, 'min', 's')
  if (seconds < 86400) return two(seconds / 60, 60, 'h', 'min')
  return two(seconds / 3600, 24, 'd', 'h')
}

const trim = (n: number) => (n < 10 && n % 1 ? n.toFixed(1) : String(Math.round(n)))

function two(n: number, of: number, big: string, small: string) {
  const a = Math.floor(n / of), b = Math.floor(n % of)
  return b && a < 10 ? `${a} ${big} ${b} ${small}` : `${a} ${big}`
}

/** Go's zero time and what cannot be read are no time. */
export function time(at: string | undefined | null): Date | undefined {
  if (!at || at.startsWith('0001-')) return undefined
  const d = new Date(at)
  return Number.isNaN(d.getTime()) ? undefined : d
}

const pad = (n: number, w = 2) => String(n).padStart(w, '0')

export function clock(d: Date, ms = false): string {
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}${ms ? '.' + pad(d.getMilliseconds(), 3) : ''}`
}

export function day(d: Date): string { return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}` }

export const stamp = (d: Date) => `${day(d)} ${clock(d)}`

export const percent = (share: number) => `${share < 0.1 && share > 0 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`

/** A short word of the API as people write it. */
export const words = (s: string) => s.replace(/_/g, ' ')

const escape = (s: string) => s.replace(/[\\']/g, '\\$&').replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => [...new TextEncoder().encode(c)].map((b) => '\\x' + b.toString(16).padStart(2, '0')).join(''))

/** An argument as a shell takes it. Control characters, which a terminal would obey when they are pasted, are written as escapes (bash, zsh). */
export const quote = (s: string) => (/^[\w@%+=:,./-]+$/.test(s) ? s : /[\u0000-\u001f\u007f-\u009f]/.test(s) ? `$'${escape(s)}'` : `'${s.replace(/'/g, `'\\''`)}'`)

/** Where the command finds this broker, for a page that another machine than its own sent. */
export const elsewhere = (page: URL) => (/^(localhost|127\.[\d.]+|\[::1\])$/.test(page.hostname) ? undefined : page.href.replace(/\/$/, ''))

/** A line for the command: flags that are not empty first, and nothing that a client named itself can be taken for a flag. */
export function cli(what: string, args: string[] = [], flags: Record<string, string | number | boolean | undefined> = {}): string {
  const set = Object.entries<string | number | boolean | undefined>({ ...flags, url: elsewhere(new URL('.', document.baseURI)) }).filter(([, v]) => v !== undefined && v !== '' && v !== false).map(([k, v]) => (v === true ? `--${k}` : `--${k}=${quote(String(v))}`))
  return ['sapwood', what, ...set, ...(args.some((a) => a.startsWith('-')) ? ['--'] : []), ...args.map(quote)].join(' ')
}

/** A value in the filter syntax of the API. */
export const term = (s: string) => (/^[^\s"\\*:<>!]+$/.test(s) ? s : `"${s.replace(/[\\"]/g, '\\$&')}"`)

/** The filter of lists of topics that passes what is below a branch. */
export const below = (branch: string) => `topic:${/^[^\s"\\]*$/.test(branch) ? `${branch}/*` : term(`${branch}/*`)}`

/** A filter as arguments, as few as there can be: an empty one is none. */
export const terms = (filter: string) => (filter ? [filter] : [])
