// A small plant for the tests of the console: machines of several kinds, and whatever goes wrong in one; and names of attackers.
export const hostile = ['<img src=x onerror="alert(1)">', '"><script>alert(2)</script>', "';alert(3)//", 'javascript:alert(4)', '{{constructor.constructor("alert(5)")()}}', 'émoji 🌳 client', '../../etc/passwd?x=1#y', '%3Cb%3E']

export const config = `
authentication:
  chain: [password]
authorization:
  rules: []
delivery:
  overflow: drop_oldest
rates:
  classes:
    - name: panels
      clients: [panel-hall-2]
      max_queued_messages: 120
`

export const pass = 'press secret 1234'
const software = ['acme-press/2.4.1', 'acme-press/2.4.1', 'acme-press/2.3.0']

/** Starts the plant; it goes on until its end is called. */
export async function plant(b, { machines: count = 60, sensors: many = 24 } = {}) {
  await b.api('PUT', '/groups/devices', { note: 'machines and what watches them' })
  for (const [name, note] of [['press', 'The sixty presses'], ['sensor', 'Air and power'], ['display', 'Panels in the halls'], [hostile[0], '']]) await b.api('POST', '/users', { name, note, kind: 'device', groups: ['devices'], password: pass })
  await b.api('POST', '/rules', { name: 'devices do what they do', topics: ['#'], allow: ['publish', 'subscribe', 'receive'], groups: ['devices'] })
  await b.api('POST', '/rules', { name: 'no commands by devices', note: 'Commands come from the office alone.', topics: ['plant/+/cmd/#'], deny: ['publish'], groups: ['devices'], priority: 10 })
  await b.api('POST', '/keys', { name: 'grafana', scopes: ['read'] })
  await b.api('POST', '/bans', { subject: 'address', value: '203.0.113.0/24', reason: 'guesses passwords', ttl_seconds: 86_400 })
  const here = []
  const join = async (o) => { const c = await b.client({ user: 'press', pass, ...o }); here.push(c); return c }
  const display = await join({ id: 'display-1', user: 'display', v5: true })
  await display.subscribe('plant/#', 1)
  await display.subscribe('$share/history/plant/+/state', 1)
  await display.subscribe('plnat/typo/#')
  const away = await join({ id: 'archive', user: 'display', clean: false })
  await away.subscribe('plant/#', 1)
  away.end()
  const slow = await join({ id: 'panel-hall-2', user: 'display', clean: false, lazy: true })
  await slow.subscribe('plant/+/state', 1)
  const machines = [], sensors = []
  for (let i = 1; i <= count; i++) machines.push(await join({ id: `press-${String(i).padStart(3, '0')}`, v5: i % 3 === 0, will: { topic: `plant/line-${i % 4}/press-${i}/online`, payload: 'no' } }))
  for (let i = 1; i <= many; i++) sensors.push(await join({ id: `air-${String(i).padStart(2, '0')}`, user: 'sensor', v5: true, keepAlive: 30 }))
  for (const id of hostile) {
    const c = await join({ id, user: hostile[0] })
    if (id.includes('#')) continue
    c.publish('hostile/' + id.replaceAll('+', ''), id, { retain: true, qos: 0 })
  }
  for (let i = 0; i < 5; i++) await b.client({ id: 'press-001', user: 'press', pass: 'wrong' }).catch(() => {})
  await b.client({ id: 'stranger', user: '<b>nobody</b>', pass: 'wrong' }).catch(() => {})
  await b.api('POST', '/bans', { subject: 'client', value: 'air-24', quarantine: true, reason: 'reads 400 °C', ttl_seconds: 3600 })
  // Two devices have the same id, and one loses its power.
  await join({ id: 'press-060' })
  machines.at(-2).vanish()
  let n = 0
  const beat = () => {
    n++
    for (const [i, m] of machines.entries()) {
      if (m.closed) continue
      const line = `plant/line-${i % 4}/press-${i + 1}`
      m.publish(`${line}/temperature`, JSON.stringify({ celsius: 20 + (i + n) % 10, seen: n }), { qos: i % 3, retain: i % 2 === 0 })
      if (i % 5 === 0) m.publish(`${line}/axis/${n % 3}/motor/vibration`, JSON.stringify({ mm: n % 7, firmware: software[i % 3] }))
      if (i % 7 === 0) m.publish(`plant/press-${i + 1}/state`, n % 2 ? 'run' : 'idle', { qos: 1 })
      if (i % 20 === 0) m.publish(`plant/line-1/cmd/stop`, 'now', { qos: 1 })
      if (i === 3) m.publish('/legacy/press-4/celsius', String(n))
      if (i % 9 === 0) m.publish(`lonely/${m.id}`, Buffer.from([1, 2, 255, n & 255]))
    }
    for (const [i, s] of sensors.entries()) if (!s.closed && (i + n) % 4 === 0) s.publish(`plant/air/${s.id}`, JSON.stringify({ co2: 410 + (i * n) % 60, humidity: 0.4 }), { retain: true })
  }
  beat()
  const timer = setInterval(beat, 500)
  return { display, slow, machines, join, pass, end: () => { clearInterval(timer); for (const c of here) c.vanish() } }
}
