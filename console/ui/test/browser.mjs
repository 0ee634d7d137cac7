// A browser for tests: headless Chromium, with what it does wrong collected.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

/** So long a page or a broker may take on a machine that is slow and does other things too; what is there sooner is not waited for. */
export const patience = 120_000

/** Waits until something holds. */
export async function until(what, holds, ms = patience) {
  for (const end = Date.now() + ms; ;) {
    const v = await holds()
    if (v) return v
    if (Date.now() > end) throw new Error('in vain waited for ' + what)
    await new Promise((r) => setTimeout(r, 100))
  }
}

export async function browser() {
  const b = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    timeout: patience,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--enable-precise-memory-info'],
  })
  return { b, close: () => b.close() }
}

/** In the page: keeps the short messages, which go by themselves. */
function remember() {
  globalThis.toasts = []
  new MutationObserver((changes) => { for (const c of changes) for (const n of c.addedNodes) if (n.classList?.contains('toast')) globalThis.toasts.push(n.textContent) }).observe(document, { childList: true, subtree: true })
}

/** Waits for a short message, or finds that it was there; each is found once. */
export const told = (page, text) => page.waitForFunction((t) => {
  const at = globalThis.toasts.findIndex((x) => x.includes(t))
  return at >= 0 && globalThis.toasts.splice(at, 1)
}, text)

/** SLOW=6 makes pages so many times slower than the test that works them, SLOW=1,6 now and then: what holds only while a page is quick enough fails. */
const slow = process.env.SLOW?.split(',').map((rate) => ({ rate: Number(rate) }))

async function slowed(page) {
  const cdp = await page.context().newCDPSession(page)
  let turn = 0
  const next = () => cdp.send('Emulation.setCPUThrottlingRate', slow[turn++ % slow.length]).catch(() => {}) // the page may be closed meanwhile
  await next()
  const timer = setInterval(next, 500)
  page.once('close', () => clearInterval(timer))
}

/** A page that is logged in; what goes wrong in it is in problems. */
export async function visit(b, url, { user = 'admin', password = user, theme = 'light', width = 1280, height = 800, hash = '' } = {}) {
  const context = await b.newContext({ colorScheme: theme, viewport: { width, height }, reducedMotion: 'reduce' })
  context.setDefaultTimeout(patience)
  const page = await context.newPage()
  await page.addInitScript(remember)
  if (slow) await slowed(page)
  const problems = []
  page.on('pageerror', (e) => problems.push(String(e.stack ?? e)))
  page.on('console', (m) => { if (m.type() === 'error' && !/Failed to load resource/.test(m.text())) problems.push(m.text()) })
  page.on('dialog', (d) => { problems.push('a dialog of the browser: ' + d.message()); void d.dismiss() })
  // What is read now; streams stay open and do not count.
  const reading = new Set()
  const reads = (r) => r.resourceType() === 'fetch' || r.resourceType() === 'script'
  page.on('request', (r) => { if (reads(r)) reading.add(r) })
  for (const end of ['requestfinished', 'requestfailed']) page.on(end, (r) => reading.delete(r))
  page.reading = reading
  await page.goto(url + hash)
  if (user) {
    await page.getByLabel('Name').fill(user)
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.locator('.frame').waitFor()
  }
  return { page, context, problems }
}

/** Goes to a place of the console, and returns when its page is drawn: the console heard of it before us, and draws before the next who listens is called. */
export const go = (page, hash) => page.evaluate((h) => new Promise((there) => {
  if (new URL(h, location.href).href === location.href) return there()
  addEventListener('hashchange', () => there(), { once: true })
  location.hash = h
}), hash)

/** The lines that "Copy as" offers; it is closed again. */
export async function lines(page) {
  const popover = page.getByRole('dialog', { name: 'Copy as', exact: true })
  await page.getByRole('button', { name: 'Copy as', exact: true }).click()
  await popover.waitFor()
  const all = await popover.locator('code').allTextContents()
  await page.keyboard.press('Escape')
  await popover.waitFor({ state: 'hidden' })
  return all
}

/** Waits until a page has drawn what it read: nothing is asked for, no place is held for what comes, and two frames went by. */
export async function settled(page) {
  const drawn = () => page.evaluate(() => new Promise((yes) => requestAnimationFrame(() => requestAnimationFrame(() => yes(!document.querySelector('main .loading, main .bone, .splash'))))))
  for (const end = Date.now() + patience; ;) {
    const still = page.reading.size === 0 && await drawn() && page.reading.size === 0
    if (still) return
    if (Date.now() > end) throw new Error(`${page.url()} does not come to rest: ${[...page.reading].map((r) => r.url()).join(' ')}`)
    await new Promise((r) => setTimeout(r, 40))
  }
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const colours = ['color-contrast', 'link-in-text-block']
const views = [
  // The elements are the same in both themes, so that only what is about colours is looked at again in the dark; and on a phone the rest.
  ['light', { colorScheme: 'light', width: 1280, height: 800 }, {}],
  ['dark', { colorScheme: 'dark', width: 1280, height: 800 }, { runOnly: { type: 'rule', values: colours } }],
  ['phone', { colorScheme: 'light', width: 390, height: 780 }, { rules: { 'color-contrast': { enabled: false } } }],
]

/**
 * Looks at each place in both themes and as wide as a phone, and tells what is not accessible (axe) or does not fit.
 * With pictures, a directory, it takes those that shoot(place, view) wants.
 */
export async function sweep(page, places, { pictures, shoot = () => true, check = true, format = 'png' } = {}) {
  if (pictures) mkdirSync(pictures, { recursive: true })
  const cdp = await page.context().newCDPSession(page)
  await page.evaluate(axe)
  const bad = []
  for (const place of places) {
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' })
    await page.setViewportSize({ width: 1280, height: 800 })
    await go(page, place.hash)
    await settled(page)
    await place.act?.(page)
    for (const [view, { colorScheme, ...size }, options] of views) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      await page.setViewportSize(size)
      await page.waitForFunction(([theme, width]) => document.documentElement.dataset.theme === theme && innerWidth === width, [colorScheme, size.width])
      await settled(page)
      await page.mouse.move(0, 0)
      if (pictures && shoot(place, view)) {
        const { data } = await cdp.send('Page.captureScreenshot', { format, ...(format === 'webp' ? { quality: 80 } : {}) })
        writeFileSync(join(pictures, `${place.name}-${view}.${format}`), Buffer.from(data, 'base64'))
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      if (wide > 0) bad.push(`${place.name} ${view}: ${wide} px wider than the window`)
      if (!check) continue
      const found = await page.evaluate((o) => globalThis.axe.run(document, { resultTypes: ['violations'], iframes: false, ...o }).then((r) => r.violations.map((v) => `${v.id}: ${v.nodes.length}× ${v.nodes[0].target.join(' ')} ${v.nodes[0].any[0]?.message ?? v.nodes[0].all[0]?.message ?? ''}`)), options)
      for (const f of found) bad.push(`${place.name} ${view}: ${f}`)
    }
    if (await page.locator('dialog[open]').count()) { await page.keyboard.press('Escape'); await page.locator('dialog[open]').waitFor({ state: 'hidden' }) }
  }
  return bad
}
