// Pictures of every page of the real broker, in both themes and as wide as a phone: node test/shots.mjs DIR [page…]
import { broker } from './broker.mjs'
import { browser, sweep, visit } from './browser.mjs'
import { config, plant } from './plant.mjs'
import { places } from './tour.mjs'

const [dir = 'shots', ...only] = process.argv.slice(2)
const b = await broker({ config })
const p = await plant(b)
const { b: chrome, close } = await browser()
const { page, problems } = await visit(chrome, b.url, { password: b.password })
await new Promise((r) => setTimeout(r, Number(process.env.WARM ?? 30) * 1000))
const trace = await b.api('POST', '/traces', { client: 'press-001', payload_bytes: 256, seconds: 600 })
const bad = await sweep(page, places({ trace: trace.id }).filter((t) => !only.length || only.includes(t.name)), { pictures: dir, check: false })
console.log([...problems, ...bad].join('\n') || 'nothing went wrong')
await close()
p.end()
await b.close()
process.exit(0)
