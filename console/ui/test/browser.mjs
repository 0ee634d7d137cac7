// A browser for tests: headless Chromium, with what it does wrong collected.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

export async function browser() {
  const dir = mkdtempSync(join(tmpdir(), 'sapwood-ui-'))
  const b = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--enable-precise-memory-info'],
  })
  return { b, close: async () => { await b.close(); rmSync(dir, { recursive: true, force: true }) } }
}

/** A page that is logged in; what goes wrong in it is in problems. */
export async function visit(b, url, { user = 'admin', password = user, theme = 'light', width = 1280, height = 860, hash = '' } = {}) {
  const context = await b.newContext({ colorScheme: theme, viewport: { width, height }, reducedMotion: 'reduce' })
  const page = await context.newPage()
  const problems = []
  page.on('pageerror', (e) => problems.push(String(e.stack ?? e)))
  page.on('console', (m) => { if (m.type() === 'error' && !/Failed to load resource/.test(m.text())) problems.push(m.text()) })
  page.on('dialog', (d) => { problems.push('a dialog of the browser: ' + d.message()); void d.dismiss() })
  await page.goto(url + hash)
  if (user) {
    await page.getByLabel('Name').fill(user)
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.locator('.frame').waitFor()
  }
  return { page, context, problems }
}
