// The smaller answers of the server for development.
const iso = (ms) => new Date(ms).toISOString()
const now = Date.now()

const users = Array.from({ length: 230 }, (_, i) => ({ name: i ? `shop${String(i).padStart(3, '0')}` : 'admin', kind: i < 3 ? 'person' : 'device', groups: i < 3 ? ['staff'] : ['devices', `region${i % 4}`], client_id: i % 5 ? '' : 'sensor-*', has_password: true, created: iso(now - i * 1e8), changed: iso(now - i * 1e7), disabled: i === 9, revision: 1, note: i === 4 ? 'The one in <b>Graz</b>' : '' }))
let rules = [
  { id: 'r1', name: 'devices', priority: 10, topics: ['shop/{user}/#'], allow: ['publish', 'subscribe', 'receive'], groups: ['devices'], created: iso(now), changed: iso(now), revision: 3 },
  { id: 'r2', name: 'nobody commands', priority: 20, topics: ['shop/+/cmd/#'], deny: ['publish'], groups: ['devices'], note: 'Commands come from the office alone.', created: iso(now), changed: iso(now), revision: 1 },
  { id: 'r3', name: 'staff', topics: ['#'], allow: ['subscribe', 'receive', 'publish', 'retain'], groups: ['staff'], created: iso(now), changed: iso(now), revision: 1 },
]
let bans = [{ subject: 'client', value: 'sensor-000017', reason: 'floods', by: 'admin', until: iso(now + 36e5), quarantine: true }, { subject: 'address', value: '203.0.113.0/24', reason: 'guesses passwords', by: 'guard' }]
let operators = [{ name: 'admin', role: 'admin', created: iso(now - 4e9), last_login: iso(now - 1e5) }, { name: 'anna', role: 'operator', created: iso(now - 1e9), last_login: iso(now - 1e7) }, { name: 'wall', role: 'viewer', created: iso(now - 1e9) }]
let keys = [{ id: 'k1', name: 'grafana', scopes: ['read'], created: iso(now - 1e9), used: iso(now - 3e4), by: 'admin' }, { id: 'k2', name: 'provisioning', scopes: ['users:write', 'bans:write'], created: iso(now - 1e8), expires: iso(now + 1e10), by: 'admin' }]
const audit = Array.from({ length: 80 }, (_, i) => ({ id: 80 - i, at: iso(now - i * 4e6), who: ['admin', 'anna'][i % 2], action: ['ban.add', 'config.reload', 'client.disconnect', 'rule.put'][i % 4], object: `sensor-${i}`, address: '10.0.0.5', status: i % 9 ? 200 : 403, before: i % 4 === 3 ? { priority: 1 } : undefined, after: i % 4 === 3 ? { priority: 10 } : undefined }))
const snapshots = [{ id: 's1', at: iso(now - 9e5), by: 'anna', messages: 214, bytes: 31000, filter: 'shop/012/#' }]
const settings = [
  ['limits.queue_messages', '5000', '1000', 'sapwood.yaml:31', 'Messages that wait for one client at most.', { exceeded: 'the oldest QoS 0 message goes first, then new ones are dropped', by: 'SIGHUP', type: 'int' }],
  ['limits.packet_bytes', '256Ki', '256Ki', 'default', 'The largest packet that is taken.', { unit: 'bytes', exceeded: 'DISCONNECT 0x95', type: 'size' }],
  ['listeners[0].address', '0.0.0.0:8883', '', 'sapwood.yaml:5', 'host:port, where port 0 takes a free one.', { type: 'string' }],
  ['listeners[0].tls.key', '***', '', 'sapwood.yaml:9', 'The private key.', { secret: true, type: 'string' }],
  ['http.address', '127.0.0.1:8083', '127.0.0.1:8083', 'default', 'host:port; off for no HTTP at all.', { restart: true, type: 'string' }],
  ['durability', 'fsync', 'fsync', 'default', 'What an acknowledgement promises.', { one_of: ['fsync', 'process', 'memory'], restart: true, type: 'string' }],
  ['sys.interval', '5s', '10s', 'SAPWOOD_SYS_INTERVAL', 'Time between two publications of the $SYS topics.', { restart: true, pending: '10s', type: 'duration' }],
].map(([key, value, def, from, doc, extra]) => ({ key, value, default: def, from, doc, env: 'SAPWOOD_' + key.toUpperCase().replace(/\W+/g, '_'), since: iso(now - 3e8), by: 'start', ...extra }))

const canaries = { interval_seconds: 1, timeout_seconds: 5, since: iso(now - 3e8), delivers: true, objective: 0.999, objective_met: true, day_ratio: 0.99998, text: 'The broker delivered 99.998 % of its own test messages in the last 24 hours.', outages: [{ from: iso(now - 4e6), to: iso(now - 3.99e6), qos: [1, 2], lost: 2, why: 'the store did not commit' }],
  canaries: [0, 1, 2].map((qos) => ({ qos, sent: 86400, delivered: 86398, lost: qos ? 2 : 0, late: 0, last_seconds: 0.0002, sum_seconds: 30, p50_seconds: 0.0002 * (qos + 1), p99_seconds: 0.003 * (qos + 1), hour_ratio: 1, day_ratio: qos ? 0.99998 : 1, histogram: Array.from({ length: 18 }, (_, i) => ({ ...(i < 17 ? { up_to_seconds: 1e-4 * 2 ** i } : {}), count: i > 8 ? 0 : Math.round(40_000 / (1 + (i - qos - 1) ** 2)) })) })) }

let traces = [{ id: 't1', client: 'sensor-000017', began: iso(now - 6e4), ends: iso(now + 5e5), running: true, payload_bytes: 256, by: 'anna', packets: 240 }]
const wave = (t, salt, base) => base * (1 + 0.2 * Math.sin(t / 900 + salt) + 0.05 * Math.sin(t / 37 + salt * 3))

export function more({ m, path, q, body, answer, fail, res, line, page, payload, someTopics, log }) {
  if (m !== 'GET') log.push({ m, path, body })
  const is = (method, p) => m === method && path === p
  if (path === '/history/metrics') return answer(200, { items: [] })
  if (path === '/history') {
    const from = Number(q.get('from')), until = Number(q.get('to')), step = Number(q.get('step') ?? 15) || 15
    const bases = { clients_connected: 93000, messages_received: 12400, messages_sent: 30100, received_bytes: 1.5e6, sent_bytes: 3.4e6, messages_dropped: 2, cpu_cores: 0.62, memory_resident_bytes: 6e8, memory_heap_bytes: 4e8, loop_lag_p99_seconds: 0.0018, loop_lag_p50_seconds: 0.0002, store_commit_p99_seconds: 0.004, store_commit_p50_seconds: 0.001, descriptors_open: 93120, queued_messages: 18000, connects: 4, connects_refused: 0.5, gc_pause_p99_seconds: 0.0004 }
    return answer(200, { step_seconds: step, series: (q.get('metric') ?? '').split(',').filter((x) => x in bases).map((metric, k) => ({ metric, labels: {}, points: Array.from({ length: Math.min(2000, Math.floor((until - from) / step)) }, (_, i) => [from + i * step, wave(from + i * step, k, bases[metric])]) })) })
  }
  if (path === '/status') return answer(200, { version: '0.4.0-dev', started: iso(now - 3e8), uptime_seconds: 345678, ready: true, durability: 'fsync', promise: 'What is acknowledged is on the disk.', counts: {}, overload: { shed: 'normal' }, warnings: [], store: { bytes: 3.1e9, live_bytes: 2.2e9, free_bytes: 41e9, health: 'ok', dir: '/var/lib/sapwood', damaged: 0 } })
  if (path === '/listeners') return answer(200, [{ name: 'tls', url: 'tls://0.0.0.0:8883', connections: 65020, handshaking: 3, waiting_for_handshake: 0, addresses: 900, authentication: ['users', 'jwt'], turned_away: { rate: 14 }, tls: { certificates: [{ subject: 'CN=mqtt.example.org', issuer: 'CN=Example CA', not_after: iso(now + 1.04e9), days_left: 12, names: ['mqtt.example.org'] }], warnings: [] } }, { name: 'plain', url: 'tcp://127.0.0.1:1883', connections: 27990, handshaking: 0, waiting_for_handshake: 0, authentication: [], turned_away: {}, warning: 'Anybody on this machine may connect without a password.' }])
  if (path === '/store') return answer(200, { dir: '/var/lib/sapwood', durability: 'fsync', health: 'ok', bytes: 3.1e9, live_bytes: 2.2e9, free_bytes: 41e9, damaged: 0, checkpoint: 'segment 44', tail_bytes: 12e6, unsynced_ns: 0, commits: { batches: 9e6, groups: 2e6, records: 3e7, bytes: 9e10, failed: 0, sync_p50_ns: 900e3, sync_p99_ns: 4.2e6, sync_max_ns: 71e6 }, segments: Array.from({ length: 44 }, (_, i) => ({ number: i, kind: i % 9 ? 'log' : 'cold', bytes: 64e6, live_bytes: 64e6 * ((i * 37) % 100) / 100 })), start: { took_ns: 1.2e9, replayed_records: 81000, replayed_bytes: 22e6, cut_bytes: 0, quarantined_bytes: 0 } })
  if (path === '/config') return answer(200, settings)
  if (path === '/config/check') return answer(200, { ok: true, changes: [{ key: 'limits.queue_messages', kind: 'changed', old: '1000', new: '5000', from: 'sapwood.yaml:31' }], problems: [], warnings: [] })
  if (path === '/config/reload') return answer(200, { ok: true, changes: [], when: iso(Date.now()), by: 'admin' })
  if (path === '/books') return answer(200, { balanced: true, imbalance: 0, checked: iso(Date.now() - 4000), since: iso(now - 3e8), lines: [['received', 8e8, 'Messages that clients published'], ['copies', 1912345678, 'Copies made of them for subscribers'], ['delivered', 1912300000, 'Handed over, and acknowledged where QoS asks for it'], ['queued', 18240, 'Wait for their receivers'], ['expired', 811, 'Their time was over before they could be delivered'], ['dropped', 26627, 'For the reasons beside'], ['no_subscriber', 120344, 'Nobody subscribed']].map(([name, count, text]) => ({ name, count, text })), by_reason: { queue_full: 24210, too_large: 3, slow_reader: 2414 } })
  if (path === '/authentication') return answer(200, [{ name: 'users', asked: 120034, accepted: 119800, refused: 214, unknown: 20, failed: 0, cache_hits: 90211, circuit_open: false }, { name: 'jwt', asked: 240, accepted: 200, refused: 40, unknown: 0, failed: 0, cache_hits: 0, circuit_open: false }])
  if (path === '/retained') {
    const f = (q.get('filter') ?? '#').replace(/#$/, '')
    return answer(200, page(someTopics().filter((t) => t.retained && t.topic.startsWith(f)).map((t) => ({ topic: t.topic, size: 64, qos: 1, publisher: t.last.publisher, at: t.last.at, expires: undefined, payload: payload(t.topic) })), q))
  }
  if (path === '/retained/message') return answer(200, { topic: q.get('topic'), size: 64, qos: 1, publisher: 'sensor-000017', at: iso(now), payload: payload(q.get('topic')) })
  if (is('POST', '/retained/delete')) return answer(200, { matched: 214, bytes: 31000, sample: ['shop/012/line/l01/dev01/state', 'shop/012/line/l01/dev02/state'], ...(body.preview ? { deleted: 0 } : { deleted: 214, snapshot: { id: 's2' } }) })
  if (path === '/retained/snapshots') return answer(200, { items: snapshots })
  if (path === '/subscriptions') return answer(200, { items: [{ client: 'gateway-000001', filter: 'shop/#', qos: 1 }] })
  if (is('GET', '/traces')) return answer(200, { items: traces })
  if (is('POST', '/traces')) { const t = { id: 't' + (traces.length + 1), ...body, began: iso(Date.now()), running: true, packets: 0, ends: iso(Date.now() + (body.seconds ?? 600) * 1000), by: 'admin' }; traces = [t, ...traces]; return answer(201, t) }
  if (m === 'DELETE' && path.startsWith('/traces/')) { traces = traces.filter((t) => '/traces/' + t.id !== path); return answer(204) }
  if (is('GET', '/users')) { const p = q.get('prefix') ?? '', after = q.get('after') ?? '', limit = Number(q.get('limit') ?? 100); const l = users.filter((u) => u.name.startsWith(p) && u.name > after && (!q.get('group') || u.groups.includes(q.get('group')))).sort((a, b) => (a.name < b.name ? -1 : 1)); return answer(200, { users: l.slice(0, limit), ...(l.length > limit ? { next: l[limit - 1].name } : {}) }) }
  if (is('POST', '/users')) { const u = { ...body, kind: body.kind ?? 'device', has_password: true, revision: 1 }; users.push(u); return answer(201, { ...u, ...(body.generate ? { secret: 'kT7w-mQ2p-Zx81-dUe4' } : {}) }) }
  if (is('GET', '/groups')) return answer(200, { items: [{ name: 'devices' }, { name: 'staff' }, { name: 'region0' }] })
  if (is('GET', '/rules')) return answer(200, page(rules, q))
  if (is('POST', '/rules')) { const r = { id: 'r' + (rules.length + 1), ...body, revision: 1 }; rules = [...rules, r]; return answer(201, r) }
  if (m === 'DELETE' && path.startsWith('/rules/')) { rules = rules.filter((r) => '/rules/' + r.id !== path); return answer(204) }
  if (path === '/canaries') return answer(200, canaries)
  if (path === '/why-not') return answer(200, { client: q.get('client'), topic: q.get('topic'), verdict: 'not_matched', cause: 'case', text: `No subscription of ${q.get('client')} matches ${q.get('topic')}; it has subscribed to shop/#.`, evidence: [], suggestions: ['Correct the filter, or the topic.'] })
  if (path === '/route') return answer(200, { topic: q.get('topic'), receive: 2, outcomes: { sent: 1, queued: 1, denied: 1 }, items: [{ client: 'controller-000010', filter: 'shop/#', qos: 1, connected: true, outcome: 'sent', waiting: 0, rule: 'devices' }, { client: 'screen-000022', filter: '$share/screens/shop/+/state', group: 'screens', members: 3, qos: 0, connected: false, outcome: 'queued', waiting: 12, rule: 'devices' }, { client: '<img src=x onerror=alert(9)>', filter: 'shop/#', qos: 0, connected: true, outcome: 'denied', waiting: 0, rule: 'nobody commands', why: 'rule <b>nobody commands</b> denies it' }] })
  if (is('POST', '/request')) return answer(200, { topic: body.topic + '/answer', payload: '{"state":"<b>run</b>"}', encoding: 'text', took_seconds: 0.012 })
  if (is('POST', '/acl/explain')) { const ok = !/cmd|admin/.test(body.topic); return answer(200, { allowed: ok, rule: ok ? 'devices' : 'nobody commands', why: ok ? `Rule “devices” allows to ${body.action} ${body.topic}.` : `Rule “nobody commands” denies to ${body.action} ${body.topic}; its priority 20 is the highest that applies.`, client: { client_id: body.client, user: body.user ?? 'shop012', known: true, groups: ['devices'] } }) }
  if (is('GET', '/bans')) return answer(200, page(bans, q))
  if (is('POST', '/bans')) { const b = { ...body, by: 'admin', ...(body.ttl_seconds ? { until: iso(Date.now() + body.ttl_seconds * 1000) } : {}) }; bans = [b, ...bans]; return answer(200, { ban: b, met: 1 }) }
  if (m === 'DELETE' && path.startsWith('/bans/')) { bans = bans.filter((b) => `/bans/${b.subject}/${encodeURIComponent(b.value)}` !== path); return answer(204) }
  if (is('GET', '/operators')) return answer(200, { items: operators })
  if (is('POST', '/operators')) { operators = [...operators, { name: body.name, role: body.role, created: iso(Date.now()) }]; return answer(201, operators.at(-1)) }
  if (is('GET', '/keys')) return answer(200, { items: keys })
  if (is('POST', '/keys')) { const k = { id: 'k' + (keys.length + 1), ...body, created: iso(Date.now()), by: 'admin' }; keys = [...keys, k]; return answer(201, { ...k, key: 'swk_9f2c41d07be14f8f' }) }
  if (is('GET', '/audit')) return answer(200, page(audit, q))
  if (m !== 'GET') return answer(204)
  return fail(404, `there is no ${m} ${path}`)
}
