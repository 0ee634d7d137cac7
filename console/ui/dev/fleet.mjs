// A fleet that is not there: every figure follows from a number, so that 100,000 clients and 1,000,000 topics need no memory.
import { BlockList, isIP } from 'node:net'

export const hash = (n) => { n = Math.imul(n ^ (n >>> 16), 0x45d9f3b); n = Math.imul(n ^ (n >>> 16), 0x45d9f3b); return (n ^ (n >>> 16)) >>> 0 }
const share = (n, salt) => hash(n * 31 + salt) / 2 ** 32
const started = Date.now()
const iso = (ms) => new Date(ms).toISOString()
const pad = (n, w) => String(n).padStart(w, '0')

export const hostile = ['<img src=x onerror=alert(1)>', '"><script>alert(1)</script>', "a/b c%2F?#'", 'émoji 🌳 client']

export function client(i, n) {
  const bad = i < hostile.length
  const connected = share(i, 1) < 0.93
  const types = ['sensor', 'gateway', 'screen', 'kiosk', 'controller']
  const type = types[hash(i) % 5]
  const id = bad ? hostile[i] : `${type}-${pad(i, 6)}`
  const rate = connected ? Math.round(share(i, 2) ** 6 * 4000) / 100 : 0
  const queued = !connected || share(i, 3) < 0.004 ? Math.floor(share(i, 4) ** 8 * 5000) : 0
  const dropped = share(i, 5) < 0.01 ? Math.floor(share(i, 6) * 900) : 0
  const out = connected ? Math.round(share(i, 7) ** 4 * 900) / 100 : 0
  return {
    id, user: share(i, 8) < 0.05 ? '' : `shop${pad(hash(i) % 400, 3)}`, groups: [type + 's'], address: `10.${hash(i) % 40}.${hash(i + 7) % 255}.${i % 255}:${20000 + (hash(i) % 40000)}`,
    listener: share(i, 9) < 0.7 ? 'tls' : 'plain', protocol: ['5.0', '3.1.1', '5.0', '3.1.1', '3.1'][hash(i + 3) % 5], tls: share(i, 9) < 0.7, connected,
    since: iso(started - share(i, 10) ** 3 * 40 * 86400e3), seen: iso(connected ? Date.now() - share(i, 11) * 60e3 : started - share(i, 12) * 5 * 86400e3), keep_alive_seconds: 60,
    session_expiry_seconds: [0, 3600, 86400, -1][hash(i + 1) % 4], clean_start: share(i, 13) < 0.5, subscriptions: 1 + (hash(i + 2) % 6), resting: 0, inflight: connected ? hash(i + 5) % 3 : 0,
    queued, queue_bytes: queued * 180, in: { messages: Math.floor(rate * 86400), bytes: Math.floor(rate * 86400 * 120), rate }, out: { messages: Math.floor(out * 86400), bytes: Math.floor(out * 86400 * 90), rate: out },
    dropped, denied: share(i, 14) < 0.003 ? 12 : 0, quarantined: i === 17, pending_bytes: 0, software: type === 'sensor' ? 'paho-c 1.3.13' : '',
    n,
  }
}

export const rows = new Map()
export function allClients(n) {
  if (!rows.has(n)) rows.set(n, Array.from({ length: n }, (_, i) => client(i, n)))
  return rows.get(n)
}

const word = /(!?)(?:"((?:[^"\\]|\\.)*)"|(\S+))/g
const pick = (row, field) => field.replace(/^(in|out)_/, '$1.').split('.').reduce((v, k) => v?.[k], row)
const number = (s) => { const m = /^([\d.]+)(k|M|G|Ki|Mi|s|m|h|d)?$/.exec(s); return m ? Number(m[1]) * ({ k: 1e3, M: 1e6, G: 1e9, Ki: 1024, Mi: 1048576, s: 1, m: 60, h: 3600, d: 86400 }[m[2]] ?? 1) : NaN }

/** A test of addresses with ports; undefined if the text is no address and no network. */
function network(text) {
  const [ip, bits] = text.split('/')
  const kind = isIP(ip)
  if (!kind) return undefined
  const list = new BlockList()
  list.addSubnet(ip, Number(bits ?? (kind === 6 ? 128 : 32)), `ipv${kind}`)
  return (address) => list.check(address.replace(/:\d+$/, ''))
}

/** The filter syntax of the API, well enough for development. */
export function filter(text, words) {
  const tests = []
  for (const m of text.matchAll(word)) {
    const raw = m[2] !== undefined ? m[2].replace(/\\(.)/g, '$1') : m[3]
    const not = m[1] === '!'
    const c = m[2] === undefined && /^([\w.]+)(:|>=|<=|>|<)(.*)$/.exec(raw)
    let test
    if (c) {
      const [, f, op, v] = c
      const value = v.replace(/^"|"$/g, '')
      if (op === ':') {
        const within = f === 'address' && network(value)
        const re = new RegExp('^' + value.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*') + '$', 'i')
        test = within ? (r) => within(r.address) : (r) => { const got = pick(r, f); return Array.isArray(got) ? got.some((g) => re.test(g)) : re.test(String(got ?? '')) }
      } else { const n = number(v); test = (r) => { const x = Number(pick(r, f) ?? 0); return op === '>' ? x > n : op === '<' ? x < n : op === '>=' ? x >= n : x <= n } }
    } else { const w = raw.toLowerCase(); test = (r) => words(r).toLowerCase().includes(w) }
    tests.push(not ? (r) => !test(r) : test)
  }
  return (r) => tests.every((t) => t(r))
}

/** Values to sort by are read once for each row. */
export function sorted(list, sort) {
  const by = sort.split(',').map((f) => [f.replace(/^-/, ''), f.startsWith('-') ? -1 : 1])
  const keyed = list.map((row) => ({ row, keys: by.map(([f]) => pick(row, f) ?? 0) }))
  keyed.sort((a, b) => { for (let i = 0; i < by.length; i++) { const x = a.keys[i], y = b.keys[i]; if (x !== y) return (x < y ? -1 : 1) * by[i][1] } return 0 })
  return keyed.map((x) => x.row)
}

export function page(list, q, total) {
  const sort = q.get('sort')
  if (sort) list = sorted(list, sort)
  const at = Number(q.get('skip') ?? 0) || Number(q.get('cursor') ?? 0) || 0, limit = Math.min(1000, Number(q.get('limit') ?? 100))
  return { items: list.slice(at, at + limit), total: total ?? list.length, matched: list.length, ...(at + limit < list.length ? { next: String(at + limit) } : {}) }
}

// Topics: shop/S/line/L/D/V with 100 shops, 100 lines, 25 devices and 4 values each is a million.
const kinds = ['temperature', 'state', 'power', 'health']
export const leaves = 100 * 100 * 25 * 4

function figures(seed, leavesBelow) {
  const rate = Math.max(0, Math.round((share(seed, 3) ** 3 * 2 + Math.sin(Date.now() / 4000 + seed) * 0.1) * leavesBelow * 10) / 1000)
  const messages = Math.floor(share(seed, 4) * 5000 * leavesBelow)
  return { messages, bytes: messages * 140, copies: messages * 2, rate, rate1: rate, rate5: rate, rate15: rate * 0.9, dropped: share(seed, 5) < 0.02 ? 40 : 0, denied: 0, unheard: share(seed, 6) < 0.05 ? messages : 0, max_size: 900 }
}

export function topicRow(parts) {
  const depth = parts.length, name = parts.at(-1)
  const seed = hash(parts.join('/').split('').reduce((h, c) => Math.imul(h, 31) + c.charCodeAt(0) | 0, 7))
  const below = [leaves, leaves / 100, leaves / 100, leaves / 1e4, 4, 1][depth - 1] ?? 1
  const leaf = depth === 6
  return {
    name, topic: parts.join('/'), branch: !leaf, children: leaf ? 0 : [100, 1, 100, 25, 4][depth - 1], topics: below, ...figures(seed, below), retained: leaf && share(seed, 9) < 0.5,
    ...(leaf ? { last: { at: iso(Date.now() - (hash(seed) % 4000)), publisher: `sensor-${pad(seed % 100000, 6)}`, size: 64, qos: seed % 3, retain: false } } : {}),
  }
}

export function children(branch) {
  if (branch === null) return [topicRow(['shop']), { name: 'plant', topic: 'plant', branch: false, children: 0, topics: 1, ...figures(5, 1), rate: 0, last: { at: iso(started), publisher: hostile[0], size: 4, qos: 0, retain: true } },
    { name: hostile[0], topic: hostile[0], branch: false, children: 0, topics: 1, ...figures(9, 1), last: { at: iso(started), publisher: hostile[1], size: 40, qos: 0, retain: true } }]
  const p = branch.split('/')
  if (p[0] !== 'shop') return []
  const names = [null, Array.from({ length: 100 }, (_, i) => pad(i, 3)), ['line'], Array.from({ length: 100 }, (_, i) => `l${pad(i, 2)}`), Array.from({ length: 25 }, (_, i) => `dev${pad(i, 2)}`), kinds][p.length]
  return (names ?? []).map((n) => topicRow([...p, n]))
}

let samples
export function someTopics() {
  samples ??= Array.from({ length: 20000 }, (_, i) => ['shop', pad(hash(i) % 100, 3), 'line', `l${pad(hash(i + 1) % 100, 2)}`, `dev${pad(hash(i + 2) % 25, 2)}`, kinds[i % 4]])
  return samples.map(topicRow)
}

export function payload(topic) {
  const t = Date.now() / 1000
  if (topic.endsWith('temperature')) return json({ celsius: Math.round((20 + 4 * Math.sin(t / 7)) * 10) / 10, unit: 'C', device: topic.split('/')[4], sequence: Math.floor(t) })
  if (topic.endsWith('power')) return { size: 12, encoding: 'hex', text: '0a 00 1f c3 88 00 00 12 7f 01 02 03', truncated: false }
  if (topic === hostile[0]) return { size: 40, encoding: 'text', text: '<img src=x onerror="alert(2)">', truncated: false }
  return json({ state: Math.floor(t / 5) % 2 ? 'open' : 'closed', door: { front: Math.floor(t / 3) % 2 === 0, back: false }, battery: 0.87, tags: ['a', 'b'], note: '<b>bold?</b>' })
}
const json = (v) => ({ size: JSON.stringify(v).length, encoding: 'json', text: JSON.stringify(v), truncated: false })

let factId = 1000
const made = []
const telling = [
  (c) => ({ kind: 'connected', text: `${c.id} connected from ${c.address} with MQTT ${c.protocol}${c.tls ? ' over TLS' : ''}.` }),
  (c) => ({ kind: 'disconnected', reason: 'keep_alive', code: 0x8d, text: `${c.id} was silent for 90 s, which is one and a half times its keep-alive of 60 s; its connection was closed.`, detail: { last_packet: 'PINGREQ', silent_seconds: '90' } }),
  (c) => ({ kind: 'dropped', reason: 'queue_full', topic: 'shop/012/line/#', count: 240, text: `240 messages for ${c.id} were dropped: its queue holds 1,000 at most and it is offline for 3 h.` }),
  (c) => ({ kind: 'denied', topic: 'shop/099/admin', reason: 'acl', code: 0x87, text: `${c.id} may not publish to shop/099/admin.`, detail: { action: 'publish', rule: 'rules[3] “devices”', text: 'no rule allows it' } }),
  (c) => ({ kind: 'taken_over', text: `${c.id} connected again from 10.9.8.7:4100; the connection from ${c.address} was closed.`, detail: { by: c.id, by_address: '10.9.8.7:4100' } }),
  (c) => ({ kind: 'refused', reason: 'bad_credentials', code: 0x86, text: `A CONNECT as ${c.id} was refused: the password of user ${c.user || 'anonymous'} is wrong.` }),
  (c) => ({ kind: 'will_sent', topic: 'shop/012/state', text: `The will of ${c.id} was sent to shop/012/state.` }),
  () => ({ kind: 'reloaded', client: '', text: 'The configuration was read again: limits.queue_messages changed from 1000 to 5000.', detail: { keys: 'limits.queue_messages' } }),
]
export function fact(at = Date.now()) {
  const i = factId++
  const c = client(hash(i) % 5000, 0)
  const f = telling[hash(i) % telling.length](c)
  return { id: i, at: iso(at), client: c.id, user: c.user, address: c.address, listener: c.listener, ...f }
}
for (let i = 600; i > 0; i--) made.push(fact(Date.now() - i * 6000))
export const factsMade = made

export function line(at = Date.now(), id) {
  const i = factId++
  const c = id ?? client(hash(i) % 500, 0).id
  const types = ['PUBLISH', 'PUBLISH', 'PUBACK', 'PINGREQ', 'PINGRESP', 'SUBSCRIBE', 'SUBACK']
  const type = types[hash(i) % types.length]
  return { at: iso(at), client: c, address: '10.1.2.3:4567', direction: /PINGREQ|SUBSCRIBE/.test(type) ? 'in' : i % 2 ? 'in' : 'out', type, ...(type === 'PUBLISH' ? { topic: 'shop/012/line/l01/dev03/temperature', qos: i % 3, size: 64, payload: payload('temperature') } : { size: 4 }), id: i % 65535, ...(type === 'PINGREQ' ? { count: 5 } : {}) }
}
