// A small plant for tests of the console: devices that publish, a slow one, one that is away, one that guesses passwords; and names of attackers.
export const hostile = ['<img src=x onerror="alert(1)">', '"><script>alert(2)</script>', "';alert(3)//", 'javascript:alert(4)', '{{constructor.constructor("alert(5)")()}}', 'émoji 🌳 client', '../../etc/passwd?x=1#y', '%3Cb%3E']

export const config = `
authentication:
  chain: [password]
authorization:
  rules: []
`

/** Starts the plant; it goes on until its end is called. */
export async function plant(b, { devices = 60 } = {}) {
  await b.api('PUT', '/groups/devices', { note: 'machines' })
  const pass = 'press secret 1234'
  for (const name of ['press', 'display', hostile[0]]) await b.api('POST', '/users', { name, kind: 'device', groups: ['devices'], password: pass })
  await b.api('POST', '/rules', { name: 'devices do what they do', topics: ['#'], allow: ['publish', 'subscribe', 'receive'], groups: ['devices'] })
  await b.api('POST', '/rules', { name: 'no commands by devices', topics: ['plant/+/cmd/#'], deny: ['publish'], groups: ['devices'], priority: 10 })
  const here = []
  const join = async (o) => { const c = await b.client({ user: 'press', pass, ...o }); here.push(c); return c }
  const display = await join({ id: 'display-1', user: 'display' })
  await display.subscribe('plant/#', 1)
  await display.subscribe('$share/history/plant/+/state', 1)
  await display.subscribe('plnat/typo/#')
  const away = await join({ id: 'archive', user: 'display', clean: false })
  await away.subscribe('plant/#', 1)
  away.end()
  const slow = await join({ id: 'slow-panel', user: 'display', clean: false, lazy: true })
  await slow.subscribe('plant/+/state', 1)
  const machines = []
  for (let i = 1; i <= devices; i++) machines.push(await join({ id: `press-${String(i).padStart(3, '0')}`, will: { topic: `plant/line-${i % 4}/press-${i}/online`, payload: 'no' } }))
  for (const id of hostile) {
    const c = await join({ id, user: hostile[0] })
    if (id.includes('#')) continue
    c.publish('hostile/' + id.replaceAll('+', ''), id, { retain: true, qos: 0 })
  }
  for (let i = 0; i < 5; i++) await b.client({ id: 'press-001', user: 'press', pass: 'wrong' }).catch(() => {})
  await b.client({ id: 'stranger', user: '<b>nobody</b>', pass: 'wrong' }).catch(() => {})
  let n = 0
  const beat = () => {
    n++
    for (const [i, m] of machines.entries()) {
      const line = `plant/line-${i % 4}/press-${i + 1}`
      m.publish(`${line}/temperature`, JSON.stringify({ celsius: 20 + (i + n) % 10, seen: n }), { qos: i % 3, retain: i % 2 === 0 })
      if (i % 5 === 0) m.publish(`${line}/axis/${n % 3}/motor/vibration`, JSON.stringify({ mm: n % 7 }))
      if (i % 7 === 0) m.publish(`plant/press-${i + 1}/state`, n % 2 ? 'run' : 'idle', { qos: 1 })
      if (i % 20 === 0) m.publish(`plant/line-1/cmd/stop`, 'now', { qos: 1 })
      if (i === 3) m.publish('/legacy/press-4/celsius', String(n))
      if (i % 9 === 0) m.publish(`lonely/${m.id}`, Buffer.from([1, 2, 255, n & 255]))
    }
  }
  beat()
  const timer = setInterval(beat, 500)
  return { display, slow, machines, join, pass, end: () => { clearInterval(timer); for (const c of here) c.vanish() } }
}
