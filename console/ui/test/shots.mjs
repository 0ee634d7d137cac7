// Pictures of every page, in both themes and as wide as a phone: node test/shots.mjs DIR [page…]
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { mock } from '../dev/mock.mjs'
import { browser, visit } from './browser.mjs'

const places = {
  now: '#/now', clients: '#/clients', client: '#/clients/controller-000010', queue: '#/clients/controller-000078/queue', timeline: '#/clients/controller-000078/events', lookback: '#/clients/controller-000078/trace', subscriptions: '#/clients/controller-000078/subscriptions',
  topics: '#/topics?topic=shop/012/line/l01/dev03/temperature', top: '#/topics/top', unheard: '#/topics/unheard', unfed: '#/topics/unfed', found: '#/topics/search?filter=l01',
  retained: '#/retained', snapshots: '#/retained/snapshots', events: '#/events', trace: '#/trace', tracing: '#/trace/t1',
  load: '#/broker/load', listeners: '#/broker/listeners', store: '#/broker/store', config: '#/broker/config', books: '#/broker/books',
  users: '#/security/users', rules: '#/security/rules', explain: '#/security/explain', denials: '#/security/denials', bans: '#/security/bans', operators: '#/security/operators', keys: '#/security/keys', audit: '#/security/audit',
  mqtt: '#/mqtt',
}
const [dir = 'shots', ...only] = process.argv.slice(2)
mkdirSync(dir, { recursive: true })
const m = await mock({ clients: 20_000 })
const { b, close } = await browser()
const problems = []
for (const [kind, options] of Object.entries({ light: {}, dark: { theme: 'dark' }, phone: { width: 390, height: 780 } })) {
  if (only.some((o) => o.startsWith('--')) && !only.includes('--' + kind)) continue
  const v = await visit(b, m.url, options)
  const names = only.filter((o) => !o.startsWith('--'))
  for (const [name, hash] of Object.entries(places)) {
    if (names.length && !names.includes(name)) continue
    await v.page.evaluate((h) => { location.hash = h }, hash)
    await v.page.waitForTimeout(name === 'now' || name === 'load' ? 2500 : 900)
    await v.page.screenshot({ path: join(dir, `${name}-${kind}.png`) })
    const wide = await v.page.evaluate(() => document.documentElement.scrollWidth > innerWidth)
    if (wide) problems.push(`${name} ${kind}: wider than the window`)
  }
  problems.push(...v.problems)
  await v.context.close()
}
console.log(problems.length ? problems.join('\n') : 'nothing went wrong')
await close()
m.close()
