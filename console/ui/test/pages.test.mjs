// Flows through the pages in a real browser, against the server for development.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import { hostile } from '../dev/fleet.mjs'
import { mock } from '../dev/mock.mjs'
import { browser, visit } from './browser.mjs'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
let m, b, close

before(async () => { m = await mock({ clients: 20_000, base: '/ops/mqtt-console/' }); ({ b, close } = await browser()) })
after(async () => { await close(); m.close() })

/** A page for the length of a test; whatever goes wrong in it fails the test. */
async function on(options, run) {
  const v = await visit(b, m.url, options)
  try { await run(v.page); assert.deepEqual(v.problems, []) } finally { await v.context.close() }
}
const go = (page, hash) => page.evaluate((h) => { location.hash = h }, hash)

describe('who you are', () => {
  test('a wrong password is told, and the right one leads to where one wanted', async () => {
    const { page, context, problems } = await visit(b, m.url, { user: null, hash: '#/topics/unfed' })
    await page.getByLabel('Name').fill('admin')
    await page.getByLabel('Password').fill('wrong')
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByText('The name or the password is wrong.').waitFor()
    await page.getByLabel('Password').fill('admin')
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByText('Clients subscribe to these').waitFor()
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByRole('button', { name: 'Log in' }).waitFor()
    assert.deepEqual(problems, [])
    await context.close()
  })
  test('a viewer sees no action', async () => {
    await on({ user: 'viewer', hash: '#/clients/controller-000010' }, async (page) => {
      await page.getByRole('heading', { name: 'Connection' }).waitFor()
      for (const name of ['Disconnect', 'Ban', 'Quarantine']) assert.equal(await page.getByRole('button', { name, exact: true }).count(), 0, name)
      await go(page, '#/security/bans')
      await page.getByText('guesses passwords').waitFor()
      assert.equal(await page.getByRole('button', { name: /Let in|^Ban/ }).count(), 0)
    })
  })
})

describe('clients', () => {
  test('the list is filtered, sorted and scrolled to its end', async () => {
    await on({ hash: '#/clients' }, async (page) => {
      await page.getByText('20,000 clients').waitFor()
      assert.ok(await page.locator('.vtable tbody tr').count() < 120, 'only rows in sight exist')
      const last = page.getByRole('link', { name: 'émoji 🌳 client' })
      for (let i = 0; i < 100 && !await last.isVisible(); i++) { // the list grows while its pages come
        await page.locator('.vtable-box').evaluate((e) => { e.scrollTop = e.scrollHeight })
        await page.waitForTimeout(200)
      }
      await last.waitFor()
      await page.getByRole('button', { name: 'Queue', exact: true }).click()
      await page.waitForURL(/sort=-queued/)
      await page.getByLabel('Filter clients').fill('controller connected:false')
      await page.getByText(/of 20,000 clients/).waitFor()
      await page.locator('.vtable tbody a').first().click()
      await page.getByText('was silent for 90 s').first().waitFor()
    })
  })
  test('a disconnect tells its effect first, and is not done without a yes', async () => {
    await on({ hash: '#/clients/controller-000010' }, async (page) => {
      const before = m.log.length
      await page.getByRole('button', { name: 'Disconnect' }).click()
      const dialog = page.getByRole('dialog')
      await dialog.getByText('Its connection is closed.').waitFor()
      await page.keyboard.press('Escape')
      await dialog.waitFor({ state: 'hidden' })
      assert.equal(m.log.length, before)
      await page.getByRole('button', { name: 'Disconnect' }).click()
      await dialog.getByLabel(/Reason/).fill('maintenance')
      await dialog.getByText('The same on the command line').click()
      await dialog.getByText('clients/controller-000010/disconnect').first().waitFor()
      await dialog.getByRole('button', { name: 'Disconnect' }).click()
      await page.getByText('controller-000010 is disconnected').waitFor()
      assert.deepEqual(m.log.at(-1), { m: 'POST', path: '/clients/controller-000010/disconnect', body: { reason: 'maintenance' } })
    })
  })
})

describe('topics', () => {
  test('the tree opens by the keyboard, and a topic shows its payload', async () => {
    await on({ hash: '#/topics' }, async (page) => {
      await page.getByRole('treeitem', { name: /^shop/ }).click()
      await page.getByRole('tree').focus()
      for (const key of ['ArrowRight', 'ArrowDown', 'ArrowRight']) { await page.keyboard.press(key); await page.waitForTimeout(200) }
      await page.getByRole('treeitem', { name: /^line/ }).waitFor()
      assert.ok(await page.getByRole('treeitem').count() < 80)
      await go(page, '#/topics?topic=shop/012/line/l01/dev03/temperature')
      await page.getByText('"celsius"').waitFor()
      await page.getByText('messages seen since this was opened').waitFor()
      await page.getByLabel('what changed').check()
      await page.locator('.diff .added').first().waitFor()
    })
  })
})

describe('retained', () => {
  test('a deletion shows what it would delete', async () => {
    await on({ hash: '#/retained?filter=shop/012/%23' }, async (page) => {
      await page.getByRole('button', { name: 'Delete these' }).click()
      const dialog = page.getByRole('dialog')
      await dialog.getByText('shop/012/line/l01/dev01/state').waitFor()
      assert.deepEqual(m.log.at(-1).body, { filter: 'shop/012/#', preview: true })
      await dialog.getByRole('button', { name: 'Delete 214' }).click()
      await page.getByText('Snapshot s2 can bring them back').waitFor()
      assert.deepEqual(m.log.at(-1).body, { filter: 'shop/012/#', confirm: 214 })
    })
  })
})

test('the search jumps to a client', async () => {
  await on({}, async (page) => {
    await page.getByRole('heading', { name: 'Now' }).waitFor()
    await page.keyboard.press('/')
    await page.getByRole('combobox').fill('controller-000024')
    await page.getByRole('option', { name: /controller-000024 shop/ }).waitFor()
    await page.keyboard.press('Enter')
    await page.waitForURL(/#\/clients\/controller-000024/)
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor()
  })
})

test('a stream that ends is told, and comes back', async () => {
  await on({}, async (page) => {
    await page.getByText('Live', { exact: true }).waitFor()
    m.pause(true)
    await page.getByText('Not live', { exact: true }).waitFor()
    m.pause(false)
    await page.getByText('Live', { exact: true }).waitFor({ timeout: 20_000 })
  })
})

test('an explanation names the rule', async () => {
  await on({ hash: '#/security/explain' }, async (page) => {
    await page.getByLabel('Client id').fill('sensor-1')
    await page.getByLabel('Topic').fill('shop/1/cmd/x')
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.getByText('nobody commands').first().waitFor()
  })
})

test('what a server does not offer is said, and breaks nothing', async () => {
  const old = await mock({ clients: 100, missing: ['/now', '/topics', '/events', '/traces', '/history', '/books', '/retained', '/operators', '/stream', '/stats', '/load'] })
  const v = await visit(b, old.url)
  for (const [hash, what] of [['#/topics', 'topics'], ['#/events', 'events'], ['#/trace', 'traces'], ['#/broker/books', 'the books'], ['#/retained', 'retained messages'], ['#/security/operators', 'operators'], ['#/broker/load', 'the history of its load']]) {
    await go(v.page, hash)
    await v.page.getByText(`This server does not offer ${what}`).waitFor()
  }
  await go(v.page, '#/now')
  await v.page.getByText('The broker is ready.').waitFor()
  assert.deepEqual(v.problems, [])
  await v.context.close()
  old.close()
})

test('ids, topics and payloads of attackers stay text', async () => {
  await on({ hash: '#/clients' }, async (page) => {
    for (const id of hostile) {
      await go(page, '#/clients/' + encodeURIComponent(id))
      await page.getByRole('heading', { name: id }).waitFor()
    }
    await go(page, '#/topics?topic=' + encodeURIComponent(hostile[0]))
    await page.getByText('<img src=x onerror="alert(2)">').waitFor()
    assert.equal(await page.locator('main img, main script').count(), 0)
  })
})

const places = ['now', 'clients', 'clients/controller-000078', 'clients/controller-000078/queue', 'clients/controller-000078/events', 'clients/controller-000078/trace', 'topics?topic=shop/012/line/l01/dev03/temperature', 'topics/search', 'topics/top', 'topics/unheard', 'retained', 'retained/snapshots',
  'events', 'trace', 'trace/t1', 'broker/load', 'broker/listeners', 'broker/store', 'broker/config', 'broker/books', 'security/users', 'security/rules', 'security/explain', 'security/denials', 'security/bans', 'security/operators', 'security/keys', 'security/audit', 'mqtt']
for (const theme of ['light', 'dark']) {
  test(`every page is accessible, ${theme}`, async () => {
    await on({ theme }, async (page) => {
      await page.evaluate(axe)
      const bad = []
      for (const place of places) {
        await go(page, '#/' + place)
        await page.waitForTimeout(700)
        const r = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
        for (const v of r.violations) bad.push(`${place}: ${v.id}: ${v.nodes.length}× ${v.nodes[0].target.join(' ')} ${v.nodes[0].any[0]?.message ?? v.nodes[0].all[0]?.message ?? ''}`)
      }
      assert.deepEqual(bad, [])
    })
  })
}
