// A server for development and for the tests of the pages: the API's answers for a fleet that is not there, and the built files.
//   node dev/mock.mjs [port] [path]        user admin, operator or viewer, password as the name
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { dirname, extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { more } from './answers.mjs'
import { allClients, children, fact, factsMade, filter, leaves, line, page, payload, someTopics, sorted, topicRow } from './fleet.mjs'

const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist')
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }
export const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

/** options: clients (how many), base (path below which everything is), missing (paths that this server does not offer) */
export function mock(options = {}) {
  const count = options.clients ?? 100_000
  const missing = options.missing ?? []
  const base = options.base ?? '/'
  const sessions = new Map()
  const streams = new Set()
  const log = []
  let live = true
  let older = 0
  let tick = 0
  let order
  allClients(count) // before anybody waits for them

  const stats = () => {
    const wave = Math.sin(Date.now() / 60000)
    return {
      at: new Date().toISOString(), uptime_seconds: 345678 + tick, clients: { connected: 93012 + Math.round(wave * 40), sessions: count, maximum: 94100 }, subscriptions: 312044, retained: { messages: 48211, bytes: 9_400_000 },
      queued: { messages: 18240, bytes: 4_100_000 }, in: { packets: 9e8, bytes: 9e10, messages: 8e8, message_bytes: 7e10 }, out: { packets: 2e9, bytes: 2e11, messages: 19e8, message_bytes: 18e10 },
      rates: { in_messages: 12400 + wave * 900 + Math.random() * 300, out_messages: 30100 + wave * 2000 + Math.random() * 500, in_bytes: 1.5e6, out_bytes: 3.4e6, connects: 4, drops: tick % 9 === 0 ? 3 : 0 },
      dropped: { queue_full: 4210, expired: 811, too_large: 3 }, denied: 72, refused: { bad_credentials: 14 }, violations: { malformed: 2 }, connects: 1e6, disconnects: 9e5, takeovers: 30,
    }
  }
  const load = () => ({
    at: new Date().toISOString(), cpu: 0.62 + Math.random() * 0.1, cores: 2, memory: { rss: 612e6, heap: 410e6, limit: 2e9 }, gc: { pause_p99_seconds: 0.0004, cpu: 0.012 }, loop_lag_seconds: { p50: 0.0001, p99: 0.0018 },
    fds: { open: 93120, limit: 200000 }, store: { commit_p99_seconds: 0.0042, queue: 3 }, disk: { bytes: 3.1e9, free: 41e9 }, goroutines: 94, listeners: [{ name: 'tls', url: 'tls://0.0.0.0:8883', connections: 65020 }, { name: 'plain', url: 'tcp://127.0.0.1:1883', connections: 27990 }],
    headroom: { processor: 0.69, memory: 0.7 },
  })
  const timer = setInterval(() => {
    tick++
    for (const s of streams) s.send()
  }, 1000)

  const answer = (res, status, body) => { res.writeHead(status, { 'Content-Type': status >= 400 ? 'application/problem+json' : 'application/json', 'Cache-Control': 'no-store' }); res.end(body === undefined ? '' : JSON.stringify(body)) }
  const fail = (res, status, detail) => answer(res, status, { title: 'no', status, detail })

  function sse(res, each) {
    if (!live) return fail(res, 503, 'no streams for now')
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
    const write = (event, v) => res.write(`event: ${event}\ndata: ${JSON.stringify(v)}\n\n`)
    const s = { send: () => each(write), end: () => res.end() }
    streams.add(s)
    res.on('close', () => streams.delete(s))
    each(write)
  }

  function api(req, res, path, q, body, who) {
    const m = req.method
    if (path === '/me') return answer(res, 200, who)
    if (path === '/now') return answer(res, 200, { ok: false, text: 'Messages are delivered; two things want attention.', problems: [{ severity: 'warning', text: 'The queues of 12 clients are full; 240 messages were dropped in the last hour.', link: '/events?kind=dropped' }, { severity: 'warning', text: 'The certificate of listener tls ends in 12 days.', link: '/broker/listeners' }], clients: { connected: 93012, normal: 93400, sessions: count }, rates: stats().rates, dropped_last_hour: { queue_full: 240, expired: 31, no_such_quota: 2 }, headroom: load().headroom, changes: factsMade.slice(-30).reverse().filter((f) => f.kind !== 'connected') })
    if (path === '/stats') return answer(res, 200, stats())
    if (path === '/load') return answer(res, 200, load())
    if (path === '/stream') {
      const watch = (q.get('watch') ?? '').split(',')
      return sse(res, (w) => { if (watch.includes('stats')) w('stats', stats()); if (watch.includes('load')) w('load', load()); if (watch.includes('events')) w('fact', fact()) })
    }
    if (path === '/clients' || path === '/sessions') {
      const all = allClients(count)
      const key = `${q.get('filter')} ${q.get('sort')}`
      // As the server does: an order holds for a while.
      if (order?.key !== key || Date.now() - order.at > 8000) {
        const found = all.filter(filter(q.get('filter') ?? '', (c) => `${c.id} ${c.user} ${c.address}`))
        order = { key, at: Date.now(), list: q.get('sort') ? sorted(found, q.get('sort')) : found }
      }
      q.delete('sort')
      return answer(res, 200, { ...page(order.list, q, all.length), age_seconds: older + (Date.now() - order.at) / 1000 })
    }
    const bulk = /^\/clients\/(disconnect|ban|quarantine)$/.exec(path)
    if (bulk && m === 'POST') {
      const met = allClients(count).filter(filter(body.filter, (c) => `${c.id} ${c.user} ${c.address}`)).filter((c) => c.connected)
      if (!body.preview) { log.push({ m, path, body }); if (body.confirm !== met.length) return fail(res, 409, 'the number is another by now') }
      return answer(res, 200, { matched: met.length, done: body.preview ? 0 : met.length, gone: 0, sample: met.slice(0, 10).map((c) => c.id), seconds: 0.1 })
    }
    const c = /^\/clients\/([^/]+)(?:\/(.*))?$/.exec(path)
    if (c) return client(req, res, decodeURIComponent(c[1]), c[2] ?? '', q, body)
    if (path === '/topics/tree') return answer(res, 200, page(children(q.get('branch')), q))
    if (path === '/topics') { const t = filter(q.get('filter') ?? '', (x) => x.topic); return answer(res, 200, page(someTopics().filter(t), q, leaves)) }
    if (path === '/topics/top') { const by = q.get('by') ?? 'messages'; return answer(res, 200, { items: someTopics().sort((a, b) => b[by] - a[by]).slice(0, 50).map((t) => ({ topic: t.topic, weight: t[by] })), error: 120, exact: false }) }
    if (path === '/topics/unheard') return answer(res, 200, page(someTopics().filter((t) => t.unheard > 0), q))
    if (path === '/topics/unfed') return answer(res, 200, page(Array.from({ length: 60 }, (_, i) => ({ filter: `shop/${i}/never/+`, client: `sensor-${String(i).padStart(6, '0')}`, qos: i % 3 })), q))
    if (path === '/topics/detail') { const t = q.get('topic'); return answer(res, 200, { ...topicRow(t.split('/')), topic: t, last: { at: new Date(Math.floor(Date.now() / 3000) * 3000).toISOString(), publisher: 'sensor-000017', size: 64, qos: 1, retain: false }, payload: payload(t), subscribers: [{ client: 'gateway-000001', filter: 'shop/#', qos: 1 }, { client: 'screen-000022', filter: 'shop/+/line/+/+/state', qos: 0, group: 'screens' }], qos: [120, 44, 2], dropped_by: { queue_full: 12 }, denied_by: {} }) }
    if (path === '/events') {
      const test = (f) => ['client', 'user', 'reason', 'topic'].every((k) => !q.get(k) || f[k] === q.get(k)) && (!q.get('kind') || q.get('kind').split(',').includes(f.kind)) && (!q.get('text') || f.text.toLowerCase().includes(q.get('text').toLowerCase())) && (!q.get('address') || f.address?.startsWith(q.get('address')))
      return answer(res, 200, page(factsMade.filter(test).reverse(), q))
    }
    if (path === '/events/stream') return sse(res, (w) => { const f = fact(); factsMade.push(f); w('fact', f) })
    if (/^\/traces\/[^/]+\/stream$/.test(path)) return sse(res, (w) => { for (let i = 0; i < 3; i++) w('packet', line()) })
    return more({ m, path, q, body, answer: (s, b) => answer(res, s, b), fail: (s, d) => fail(res, s, d), res, line, page, payload, someTopics, tick, log })
  }

  function client(req, res, id, rest, q, body) {
    const row = allClients(count).find((x) => x.id === id)
    if (!row) return fail(res, 404, `there is no client ${id}`)
    const m = req.method
    if (rest === '' && m === 'GET') return answer(res, 200, { ...row, in: { ...row.in, rate: row.in.rate + Math.random() }, filters: Array.from({ length: row.subscriptions }, (_, i) => ({ filter: i ? `shop/${i}/line/+/state` : 'shop/#', qos: i % 3, no_local: i === 1, retain_as_published: i === 2, retain_handling: i % 3, id: i, resting: i === 3, group: i === 4 ? 'workers' : '' })), limits: [{ name: 'queue_messages', used: row.queued, limit: 1000 }, { name: 'inflight', used: row.inflight, limit: 20 }, { name: 'subscriptions', used: row.subscriptions, limit: 100 }], will: { topic: 'shop/012/state', qos: 1, retain: true, delay_seconds: 30, size: 12 }, dropped_by: row.dropped ? { queue_full: row.dropped } : {}, qos: { in: [120, 3011, 4], out: [88, 120, 0] } })
    if (rest === 'why') return answer(res, 200, row.connected ? { verdict: row.dropped ? 'slow' : 'fine', text: row.dropped ? `${id} reads more slowly than messages come: its queue was full three times in the last hour.` : `${id} is connected, answers, and gets what it subscribed to.`, since: row.since, evidence: factsMade.slice(-3), suggestions: row.dropped ? ['Raise limits.queue_messages, or let it subscribe to less.', 'Look at its link: its round trip grew to 2.4 s.'] : [] } : { verdict: 'disconnected', text: `${id} was silent for 90 s, so its connection was closed; 31 other clients of 10.3.0.0/16 went in the same minute.`, since: row.seen, evidence: factsMade.slice(-4), suggestions: ['Look at the link of that site.'] })
    if (rest === 'trace') return answer(res, 200, { items: Array.from({ length: 60 }, (_, i) => line(Date.now() - (60 - i) * 700, id)) })
    if (rest === 'inflight') return answer(res, 200, { items: [{ direction: 'out', packet_id: 7, qos: 1, state: 'waits_for_puback', topic: 'shop/012/state', size: 80, age_seconds: 75 }, { direction: 'in', packet_id: 9, qos: 2, state: 'waits_for_pubrel', topic: 'shop/012/cmd', size: 20, age_seconds: 0.4 }] })
    if (rest === 'queue' && m === 'GET') return answer(res, 200, page(Array.from({ length: row.queued }, (_, i) => ({ position: i, topic: `shop/012/line/l01/dev${i % 25}/state`, qos: 1, size: 90, publisher: 'gateway-000001', expires: i % 2 ? new Date(Date.now() + 9e6).toISOString() : undefined, payload: payload('state') })), q))
    if (m === 'DELETE' && q.get('preview')) return answer(res, 200, { matched: row.queued, bytes: row.queue_bytes })
    log.push({ m, path: `/clients/${id}/${rest}`, body })
    if (rest === 'disconnect') row.connected = false
    return answer(res, 204)
  }

  const server = createServer(async (req, res) => {
    const url = new URL(req.url, 'http://x')
    if (!url.pathname.startsWith(base)) return fail(res, 404, 'not here')
    const path = '/' + url.pathname.slice(base.length)
    if (!path.startsWith('/api/v1')) {
      const file = normalize(path === '/' ? '/index.html' : path)
      try {
        const data = await readFile(join(dist, file))
        res.writeHead(200, { 'Content-Type': types[extname(file)] ?? 'application/octet-stream', 'Content-Security-Policy': csp })
        return res.end(data)
      } catch { return fail(res, 404, 'there is no such file') }
    }
    const where = path.slice('/api/v1'.length)
    let text = ''
    for await (const part of req) text += part
    const body = text && req.headers['content-type']?.includes('json') ? JSON.parse(text) : text
    const cookie = /sapwood=(\w+)/.exec(req.headers.cookie ?? '')?.[1]
    if (where === '/login') {
      if (!['admin', 'operator', 'viewer'].includes(body.user) || body.password !== body.user) return fail(res, 401, 'the name or the password is wrong')
      sessions.set(body.user, { user: body.user, role: body.user, scopes: [], csrf: 'c-' + body.user })
      res.setHeader('Set-Cookie', `sapwood=${body.user}; HttpOnly; SameSite=Strict; Path=${base}`)
      return answer(res, 200, sessions.get(body.user))
    }
    const who = sessions.get(cookie)
    if (!who) return fail(res, 401, 'log in first')
    if (where === '/logout') { sessions.delete(cookie); return answer(res, 204) }
    if (req.method !== 'GET' && req.headers['x-csrf-token'] !== who.csrf) return fail(res, 403, 'the CSRF token is missing')
    if (req.method !== 'GET' && who.role === 'viewer' && where !== '/acl/explain') return fail(res, 403, 'a viewer changes nothing')
    if (missing.some((p) => where.startsWith(p))) return fail(res, 404, 'there is no ' + where)
    try { return api(req, res, where, url.searchParams, body, who) } catch (e) { return fail(res, 500, String(e.stack)) }
  })
  return new Promise((done) => server.listen(options.port ?? 0, '127.0.0.1', () => done({
    url: `http://127.0.0.1:${server.address().port}${base}`, log,
    /** The orders of clients are said to be older by so many seconds. */
    age: (seconds) => { older = seconds },
    /** No streams, or streams again. */
    pause: (on) => { live = !on; if (on) for (const s of streams) s.end() },
    close: () => { clearInterval(timer); for (const s of streams) s.end(); server.closeAllConnections(); server.close() },
  })))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const m = await mock({ port: Number(process.argv[2] ?? 8083), base: process.argv[3] ?? '/' })
  console.log(m.url)
}
