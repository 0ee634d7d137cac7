// Flows through the pages in a real browser, against the server for development.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { fact, factsMade, hostile } from '../dev/fleet.mjs'
import { mock } from '../dev/mock.mjs'
import { browser, go, lines, settled, sweep, told, visit } from './browser.mjs'

let m, b, close

before(async () => { m = await mock({ clients: 20_000, base: '/ops/mqtt-console/' }); ({ b, close } = await browser()) })
after(async () => { await close(); m.close() })

/** A page for the length of a test; whatever goes wrong in it fails the test. */
async function on({ url = m.url, ...options }, run) {
  const v = await visit(b, url, options)
  try { await run(v.page); assert.deepEqual(v.problems, []) } finally { await v.context.close() }
}

describe('who you are', () => {
  test('a wrong password is told, and the right one leads to where one wanted', async () => {
    await on({ user: null, hash: '#/topics/unfed' }, async (page) => {
      await page.getByLabel('Name').fill('admin')
      await page.getByLabel('Password').fill('wrong')
      await page.getByRole('button', { name: 'Log in' }).click()
      await page.getByText('The name or the password is wrong.').waitFor()
      await page.keyboard.type('admin') // what is wrong is asked for again
      await page.keyboard.press('Enter')
      await page.getByText('Clients subscribe to these').waitFor()
      await page.getByRole('button', { name: 'Log out' }).click()
      await page.getByRole('button', { name: 'Log in' }).waitFor()
    })
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
      await page.locator('.vtable-box').evaluate((e) => { e.scrollTop = e.scrollHeight })
      await page.getByRole('link', { name: 'émoji 🌳 client' }).waitFor()
      await page.getByRole('button', { name: 'Queue', exact: true }).click()
      await page.waitForURL(/sort=-queued/)
      await page.getByLabel('Filter clients').fill('controller connected:false')
      await page.getByText(/of 20,000 clients/).waitFor()
      await page.locator('.vtable tbody a').first().click()
      await page.getByText('was silent for 90 s').first().waitFor()
    })
  })
  test('the middle of a long list is one request away, and an old order says so', async () => {
    m.age(4)
    await on({ hash: '#/clients?sort=address' }, async (page) => {
      await page.getByText('20,000 clients').waitFor()
      const asked = []
      page.on('request', (r) => { const u = new URL(r.url()); if (u.pathname.endsWith('/clients') && u.searchParams.get('skip') >= 9000) asked.push(u.searchParams) })
      await page.locator('.vtable-box').evaluate((e) => { e.scrollTop = 10_050 * 34 })
      await page.waitForFunction(() => document.querySelector('tr[aria-rowindex="10060"]') && !document.querySelector('tr.ghost'))
      assert.deepEqual([...new Set(asked.map((q) => q.get('skip')))], ['10000'])
      assert.ok(asked.every((q) => !q.has('cursor') && q.get('watch') === 'true' && q.get('sort') === 'address'))
      await page.getByText(/order of \d+ s ago/).waitFor()
    }).finally(() => m.age(0))
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
      await dialog.getByText('sapwood clients disconnect --reason=maintenance controller-000010', { exact: true }).waitFor()
      await dialog.getByRole('button', { name: 'Disconnect' }).click()
      await told(page, 'controller-000010 is disconnected')
      assert.deepEqual(m.log.at(-1), { m: 'POST', path: '/clients/controller-000010/disconnect', body: { reason: 'maintenance' } })
    })
  })
})

describe('many clients at once', () => {
  test('they are counted before anything is done, and exactly so many are met', async () => {
    await on({ hash: '#/clients' }, async (page) => {
      await page.getByText('20,000 clients').waitFor()
      assert.equal(await page.getByRole('group', { name: 'All clients with this filter' }).count(), 0, 'not to all there are')
      await page.getByLabel('Filter clients').fill('controller connected:true')
      const group = page.getByRole('group', { name: 'All clients with this filter' })
      for (const verb of ['disconnect', 'quarantine', 'ban']) {
        await group.getByRole('button', { name: new RegExp(verb, 'i') }).click()
        const dialog = page.getByRole('dialog')
        await dialog.getByText(/Such as/).waitFor()
        const said = await dialog.getByText(/clients? (is|are) met/).innerText()
        const before = m.log.length
        await dialog.getByRole('button', { name: new RegExp(`^${verb} [\\d,]+$`, 'i') }).click()
        await dialog.waitFor({ state: 'hidden' })
        assert.equal(m.log.length, before + 1)
        const { path, body } = m.log.at(-1)
        assert.equal(path, '/clients/' + verb)
        assert.equal(body.filter, 'controller connected:true')
        assert.equal(body.confirm, Number(/[\d,]+/.exec(said)[0].replace(',', '')))
        assert.equal(body.ttl_seconds, verb === 'disconnect' ? undefined : 3600)
      }
    })
  })
  test('a viewer is offered none of it', async () => {
    await on({ user: 'viewer', hash: '#/clients?filter=controller' }, async (page) => {
      await page.getByText(/of 20,000 clients/).waitFor()
      assert.equal(await page.getByRole('group', { name: 'All clients with this filter' }).count(), 0)
    })
  })
  test('the end of a long list is one request away', async () => {
    const skips = new Set()
    await on({ hash: '#/clients?sort=-in_rate,id' }, async (page) => {
      await page.getByText('20,000 clients').waitFor()
      page.on('request', (r) => { const u = new URL(r.url()); if (u.pathname.endsWith('/clients') && u.searchParams.has('skip')) skips.add(u.searchParams.get('skip')) })
      await page.locator('.vtable-box').evaluate((e) => { e.scrollTop = e.scrollHeight })
      await page.locator('tbody tr[aria-rowindex="20001"]').waitFor()
      assert.deepEqual([...skips], ['19900'])
      // Its last rows are those that the first of the opposite order are.
      const last = await page.locator('tbody tr[aria-rowindex="20001"] a').first().innerText()
      await go(page, '#/clients?sort=in_rate,-id')
      await page.locator('tbody tr[aria-rowindex="2"]', { hasText: last }).waitFor()
    })
  })
})

test('a ban by address or user tells first how many it meets, and some of them', async () => {
  await on({ hash: '#/clients/controller-000010' }, async (page) => {
    await page.getByRole('button', { name: 'Ban', exact: true }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Whom').selectOption('address')
    await dialog.getByText(/^\d+ clients? that (is|are) connected (is|are) met/).waitFor()
    await dialog.getByLabel('Whom').selectOption('user')
    await dialog.getByText(/^\d+ clients? that (is|are) connected (is|are) met: .* It is about \d+ more that (is|are) offline\./).waitFor()
    await go(page, '#/security/bans')
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'hidden' })
    await page.getByRole('button', { name: 'Ban', exact: true }).click()
    await dialog.getByLabel('Whom').selectOption('address')
    for (const [network, said] of [['10.3.0.0/16', /^[\d,]+ clients that are connected are met/], ['10.0.0.0/13', /^[\d,]+ clients that are connected are met/], ['10.3.', /told when it is done/], ['2001:db8::7', /^0 clients that are connected are met\./]]) {
      await dialog.getByLabel('Which', { exact: true }).fill(network)
      await dialog.getByText(said).waitFor()
    }
  })
})
test('of those who are away nobody says that they are disconnected', async () => {
  await on({ hash: '#/clients?filter=' + encodeURIComponent('controller connected:false') }, async (page) => {
    await page.route('**/clients/ban', (r) => r.fulfill({ json: { matched: 6, done: 0, gone: 0, sample: ['controller-1'], seconds: 0 } }))
    await page.getByRole('button', { name: 'Ban…' }).click()
    await page.getByText('6 clients are met. They are refused until the ban ends. None of them is connected now.').waitFor()
  })
})
test('a topic that was not published to since the start shows the message that is retained', async () => {
  await on({}, async (page) => {
    await page.route('**/topics/detail?*', (r) => r.fulfill({ json: { topic: 'shop/kept', messages: 0, bytes: 0, retained: true, payload: { size: 4, encoding: 'text', text: 'held' }, subscribers: [] } }))
    await page.route('**/retained/message?*', (r) => r.fulfill({ json: { topic: 'shop/kept', size: 4, qos: 1, publisher: 'press-7', at: new Date().toISOString(), payload: { size: 4, encoding: 'text', text: 'held' } } }))
    await go(page, '#/topics?topic=shop/kept')
    const pane = page.getByLabel('Topic', { exact: true })
    await pane.getByText('held', { exact: true }).waitFor()
    await pane.getByText('retained', { exact: true }).waitFor()
    await pane.getByRole('link', { name: 'press-7' }).waitFor()
  })
})
test('a trace that has ended is not said to run', async () => {
  await on({}, async (page) => {
    await page.route('**/traces?*', (r) => r.fulfill({ json: { items: [{ id: 't9', client: 'press-7', began: new Date().toISOString(), running: false, packets: 1, kept: 1 }], total: 1, matched: 1 } }))
    await go(page, '#/trace')
    await page.getByRole('cell', { name: 'ended' }).waitFor()
    await page.getByRole('button', { name: 'Delete…' }).click()
    await page.getByText('What it kept goes: 1 packet of client press-7.').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'hidden' })
    await go(page, '#/trace/t9')
    await page.getByText('ended', { exact: true }).waitFor()
  })
})
test('a packet that is looked at stays open while others come', async () => {
  await on({ hash: '#/trace/t1' }, async (page) => {
    const rows = page.locator('.lines tbody tr')
    await rows.first().getByRole('button').press('Enter')
    await page.locator('.line-detail').waitFor()
    const said = await page.locator('.line-detail .facts').innerText()
    const before = await rows.count()
    await rows.nth(before + 5).waitFor()
    assert.equal(await page.locator('.line-detail .facts').innerText(), said)
  })
})
test('what happened while nobody listened is read when the stream is back', async () => {
  await on({ hash: '#/events' }, async (page) => {
    await page.getByText('as they happen').waitFor()
    m.pause(true)
    await page.getByText('connecting …').waitFor()
    factsMade.push({ ...fact(), text: 'Somebody pulled the plug.' })
    m.pause(false)
    await page.getByText('Somebody pulled the plug.').waitFor()
    await page.getByText('as they happen').waitFor()
  })
})
test('the audit log is narrowed by who, operation and outcome', async () => {
  await on({ hash: '#/security/audit' }, async (page) => {
    await page.getByLabel('Who', { exact: true }).fill('anna')
    await page.getByLabel('Who', { exact: true }).press('Enter')
    await page.getByLabel('Operation').fill('ban-add')
    await page.getByLabel('Operation').press('Enter')
    const asked = page.waitForRequest((r) => r.url().includes('/audit?') && r.url().includes('outcome=refused'))
    await page.getByLabel('Outcome').selectOption('refused')
    const q = new URL((await asked).url()).searchParams
    assert.deepEqual([q.get('by'), q.get('operation'), q.get('outcome')], ['anna', 'ban-add', 'refused'])
  })
})
test('away from the broker the command says where it is', async () => {
  const url = m.url.replace('127.0.0.1', 'broker.localhost')
  await on({ url, hash: '#/ask' }, async (page) => {
    assert.equal((await lines(page))[0], `sapwood why --url=${url.replace(/\/$/, '')} CLIENT`)
    await go(page, '#/security/explain?client=press-7&topic=a/b')
    assert.equal((await lines(page))[0], `sapwood acl explain --action=publish --url=${url.replace(/\/$/, '')} press-7 a/b`)
  })
})

describe('questions', () => {
  test('a client, a topic, and both', async () => {
    await on({ hash: '#/ask' }, async (page) => {
      assert.ok(await page.getByRole('button', { name: 'Ask', exact: true }).isDisabled())
      await page.getByLabel('Topic', { exact: true }).fill('shop/012/state')
      await page.getByLabel('Topic', { exact: true }).press('Enter')
      await page.getByText('2 subscriptions would get it, of 3 that match.').waitFor()
      await page.getByRole('row', { name: /img src=x onerror/ }).getByText('denied').waitFor()
      await page.getByLabel('Client', { exact: true }).fill('controller-000010')
      await page.getByRole('button', { name: 'Ask', exact: true }).click()
      await page.getByText('No subscription of controller-000010 matches shop/012/state').waitFor()
      await page.getByRole('link', { name: 'controller-000010' }).first().click()
      await page.getByLabel('Did it miss messages of a topic?').fill('shop/9/state')
      await page.getByLabel('Did it miss messages of a topic?').press('Enter')
      await page.waitForURL(/#\/ask\?client=controller-000010&topic=shop/)
      await page.getByText('matches shop/9/state').waitFor()
      await settled(page)
      assert.equal(await page.locator('main img, main b b').count(), 0)
    })
  })
  test('a request shows its response as text', async () => {
    await on({ hash: '#/mqtt' }, async (page) => {
      await page.getByLabel('Request topic').fill('shop/012/ask')
      await page.getByRole('button', { name: 'Send and wait' }).click()
      await page.getByText('{"state":"<b>run</b>"}').waitFor()
      await page.getByText('after 12 ms').waitFor()
    })
  })
})

test('what is not all delivered does not read as all', async () => {
  await on({ hash: '#/broker/delivery' }, async (page) => {
    for (const [qos, share] of [[1, '99.99 %'], [0, '100 %']]) await page.locator('.figure', { hasText: `QoS ${qos} delivered` }).locator('.figure-value').getByText(share, { exact: true }).waitFor()
    await page.getByText('the store did not commit').waitFor()
  })
})

describe('topics', () => {
  test('the tree opens by the keyboard, and a topic shows its payload', async () => {
    await on({ hash: '#/topics' }, async (page) => {
      await page.getByRole('treeitem', { name: /^shop/ }).click()
      await page.getByRole('tree').focus()
      await page.keyboard.press('ArrowRight')
      await page.locator('.tree-row[aria-level="2"][aria-expanded]').first().waitFor()
      await page.keyboard.press('ArrowDown')
      await page.locator('.tree-row.cursor[aria-level="2"]').waitFor()
      await page.keyboard.press('ArrowRight')
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
      await told(page, 'Snapshot s2 can bring them back')
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

test('the menu of a phone closes by Escape, by a press elsewhere and with a choice', async () => {
  await on({ width: 390, height: 780, hash: '#/clients' }, async (page) => {
    const menu = page.getByRole('button', { name: 'More' }), last = page.getByRole('link', { name: 'MQTT client' })
    for (const close of [() => page.keyboard.press('Escape'), () => page.getByRole('heading', { name: 'Clients' }).click(), () => page.getByRole('link', { name: 'Clients', exact: true }).click(), () => last.click()]) {
      await menu.click()
      await last.waitFor()
      await close()
      await last.waitFor({ state: 'hidden' })
    }
    await page.waitForURL(/#\/mqtt$/)
  })
})

test('a stream that ends is told, and comes back', async () => {
  await on({}, async (page) => {
    await page.getByText('Live', { exact: true }).waitFor()
    m.pause(true)
    await page.getByText('Not live', { exact: true }).waitFor()
    m.pause(false)
    await page.getByText('Live', { exact: true }).waitFor()
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
  await on({ url: old.url }, async (page) => {
    for (const [hash, what] of [['#/topics', 'topics'], ['#/events', 'events'], ['#/trace', 'traces'], ['#/broker/books', 'the books'], ['#/retained', 'retained messages'], ['#/security/operators', 'operators'], ['#/broker/load', 'the history of its load']]) {
      await go(page, hash)
      await page.getByText(`This server does not offer ${what}`).waitFor()
    }
    await go(page, '#/now')
    await page.getByText('The broker is ready.').waitFor()
  }).finally(old.close)
})

test('ids, topics and payloads of attackers stay text', async () => {
  await on({ hash: '#/clients' }, async (page) => {
    for (const id of hostile) {
      await go(page, '#/clients/' + encodeURIComponent(id))
      await page.getByRole('heading', { name: id }).waitFor()
    }
    await go(page, '#/topics?topic=' + encodeURIComponent(hostile[0]))
    await page.getByText('<img src=x onerror="alert(2)">').waitFor()
    await settled(page)
    assert.equal(await page.locator('main img, main script').count(), 0)
  })
})

test('a line to copy holds what a client named itself as one argument, never as a flag or a command', async () => {
  await on({ hash: '#/clients' }, async (page) => {
    for (const id of [...hostile, '--url=http://evil.example', "a'b", '$(id)', '`id`', 'a\nsudo b', '\u001b[31m', 'tab\there', 'back\\slash\u0007', '-rf']) {
      await go(page, '#/ask?client=' + encodeURIComponent(id))
      await page.locator(`main a[href="#/clients/${encodeURIComponent(id)}"]`).first().waitFor()
      const [command, curl] = await lines(page)
      assert.ok(!/[\u0000-\u001f\u007f-\u009f]/.test(command + curl), 'nothing that a terminal obeys: ' + JSON.stringify(command))
      const said = execFileSync('bash', ['-c', `sapwood() { printf '%s\\0' "$@"; }\n${command}`]).toString().split('\0').slice(0, -1)
      assert.deepEqual(said, ['why', ...(id.startsWith('-') ? ['--'] : []), id])
      const asked = execFileSync('bash', ['-c', `curl() { printf '%s\\0' "$@"; }\n${curl}`]).toString().split('\0')
      assert.equal(asked[2], m.url + 'api/v1/clients/' + encodeURIComponent(id) + '/why')
    }
  })
})

const places = ['now', 'clients', 'clients/controller-000078', 'clients/controller-000078/queue', 'clients/controller-000078/events', 'clients/controller-000078/trace', 'topics?topic=shop/012/line/l01/dev03/temperature', 'topics/search', 'topics/top', 'topics/unheard', 'retained', 'retained/snapshots',
  'events', 'ask', 'ask?topic=shop/012/state&client=gateway-000001', 'trace', 'trace/t1', 'broker/load', 'broker/delivery', 'broker/listeners', 'broker/store', 'broker/config', 'broker/books', 'security/users', 'security/rules', 'security/explain', 'security/denials', 'security/bans', 'security/operators', 'security/keys', 'security/audit', 'mqtt']
test('every page is accessible and fits, in both themes and on a phone', async () => {
  await on({}, async (page) => assert.deepEqual(await sweep(page, places.map((p) => ({ name: p, hash: '#/' + p }))), []))
})
