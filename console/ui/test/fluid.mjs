// How fluid long lists are: 100,000 clients and 1,000,000 topics of the server for development, or those of a broker that runs at SERVER, a URL, whose
// password of admin is in PASSWORD. node test/fluid.mjs [trace.json]
import { writeFileSync } from 'node:fs'
import { mock } from '../dev/mock.mjs'
import { browser, go, settled, visit } from './browser.mjs'

const m = process.env.SERVER ? { url: process.env.SERVER.replace(/\/?$/, '/'), close() {} } : await mock({ clients: 100_000 })
const { b, close } = await browser()
const { page, context } = await visit(b, m.url, process.env.SERVER ? { password: process.env.PASSWORD } : {})
const cdp = await context.newCDPSession(page)
await cdp.send('Performance.enable')
const metrics = async () => Object.fromEntries((await cdp.send('Performance.getMetrics')).metrics.map((x) => [x.name, x.value]))
const heap = async () => { await cdp.send('HeapProfiler.collectGarbage'); return (await metrics()).JSHeapUsedSize / 1e6 }
const row = '.vtable tbody tr[aria-rowindex]:not(.ghost), .tree-row'

async function paint(hash) {
  await page.goto(m.url + 'icon.svg')
  await page.goto(m.url + hash)
  await page.locator(row).first().waitFor()
  return page.evaluate(() => new Promise((yes) => requestAnimationFrame(() => yes(Math.round(performance.now())))))
}

/** Scrolls for three seconds as by a wheel, and counts frames. */
async function scroll(box) {
  const before = await metrics()
  const frames = await page.evaluate((box) => new Promise((yes) => {
    const el = document.querySelector(box), began = performance.now(), at = []
    const step = (t) => { at.push(t); el.scrollTop += 120; if (performance.now() - began < 3000) requestAnimationFrame(step); else yes({ fps: Math.round(at.length / 3), worst: Math.round(Math.max(...at.slice(1).map((x, i) => x - at[i]))) }) }
    requestAnimationFrame(step)
  }), box)
  const after = await metrics()
  const share = (k) => Math.round(((after[k] - before[k]) / (after.Timestamp - before.Timestamp)) * 100)
  return { ...frames, main: share('TaskDuration') + ' %', script: share('ScriptDuration') + ' %', layout: share('LayoutDuration') + share('RecalcStyleDuration') + ' %' }
}

async function jump(share) {
  const began = Date.now()
  await page.locator('.vtable-box').evaluate((e, s) => { e.scrollTop = e.scrollHeight * s }, share)
  await page.waitForFunction((s) => { const e = document.querySelector('.vtable-box'); return Math.abs(e.scrollTop / e.scrollHeight - s) < 0.02 && !document.querySelector('tr.ghost') && document.querySelectorAll('tbody tr[aria-rowindex]').length > 5 }, Math.min(share, 1 - 0.001))
  return Date.now() - began + ' ms'
}

const idle = async () => {
  const before = await metrics()
  await new Promise((r) => setTimeout(r, 5000))
  const after = await metrics()
  return ((after.TaskDuration - before.TaskDuration) / (after.Timestamp - before.Timestamp) * 100).toFixed(1) + ' % of a core'
}
const out = new Proxy({}, { set: (o, k, v) => { console.log(k, v); o[k] = v; return true } })
for (const hash of ['#/clients', '#/clients?sort=-since', ...(process.env.SERVER ? [] : ['#/topics', '#/topics/search'])]) out['paint ' + hash] = (await paint(hash)) + ' ms'
await go(page, '#/clients')
await settled(page)
const trace = process.argv[2]
if (trace) await b.startTracing(page, { categories: ['devtools.timeline', 'blink.user_timing', 'disabled-by-default-devtools.timeline'] })
out['scroll clients'] = await scroll('.vtable-box')
if (trace) writeFileSync(trace, await b.stopTracing())
for (const s of [0.5, 0.25, 0.98, 1]) out[`jump to ${s * 100} %`] = await jump(s)
out['clients, watched'] = await idle()
out['heap clients'] = (await heap()).toFixed(1) + ' MB'
if (!process.env.SERVER) {
  await go(page, '#/topics')
  await settled(page)
  for (let i = 0; i < 30; i++) { await page.getByRole('treeitem').nth(0).click(); await page.getByRole('tree').focus(); for (const k of ['Home', ...Array(i).fill('ArrowDown'), 'ArrowRight']) await page.keyboard.press(k); await settled(page); if (i > 4) break }
  await settled(page)
  out['scroll tree'] = await scroll('.tree-box')
  out['heap topics'] = (await heap()).toFixed(1) + ' MB'
}
await go(page, '#/now')
await settled(page)
out['now, watched'] = await idle()
await close()
m.close()
