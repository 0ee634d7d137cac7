// The console against the real broker, with real clients: what the pages show is what the broker holds, and what they do is done.
// Pictures of every page for docs/tour.md are made with TOUR=1.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { broker } from './broker.mjs'
import { browser, go, lines, patience, settled, sweep, told, until, visit } from './browser.mjs'
import { config, hostile, plant } from './plant.mjs'
import { phones, places, write } from './tour.mjs'

const viewer = 'viewer password 123'
let b, p, chrome, close

before(async () => {
  b = await broker({ config })
  p = await plant(b);
  ({ b: chrome, close } = await browser())
  await until('figures', () => b.api('GET', '/stats').catch(() => undefined)) // a broker that has just begun has none
  await b.api('POST', '/operators', { name: '<i onclick=alert(6)>viewer', role: 'viewer', password: viewer })
})
after(async () => { p?.end(); await close?.(); await b?.close() })

/** A page for the length of a test; what goes wrong in it, or is refused by the server, fails the test. */
async function on({ refused = [], ...options }, run) {
  const v = await visit(chrome, b.url, { password: b.password, ...options })
  const bad = []
  v.page.on('response', (r) => { if (r.status() >= 400 && !refused.includes(r.status())) bad.push(`${r.status()} ${r.request().method()} ${r.url()}`) })
  try { await run(v.page); assert.deepEqual([...v.problems, ...bad], []) } finally { await v.context.close() }
}
const digits = async (locator) => Number((await locator.innerText()).replace(/[^\d]/g, ''))

describe('what the broker holds', () => {
  test('Now shows the clients that are connected, and what comes in', async () => {
    await on({}, async (page) => {
      const clients = async () => (await b.api('GET', '/stats')).clients
      await until('the plant', async () => (await clients()).connected >= 60 + hostile.length)
      await until('as many sessions as the list has; the canary is counted in neither', async () => (await b.api('GET', '/clients?filter=connected:true&limit=1')).total === (await clients()).sessions)
      assert.equal((await b.api('GET', '/clients/$canary')).connected, true)
      const figure = page.locator('.figures > *').filter({ hasText: 'Clients online' }).locator('.figure-value')
      await until('the clients', async () => (await digits(figure)) === (await clients()).connected)
      await until('messages', async () => (await digits(page.locator('.figures > *').filter({ hasText: 'Messages in' }).locator('.figure-value'))) > 10)
      await page.getByRole('img', { name: 'Messages in, last hour' }).waitFor()
    })
  })
  test('the list of clients is that of the API, sorted by it', async () => {
    await on({ hash: '#/clients?filter=press-' }, async (page) => {
      await until('the counts of the API', async () => {
        const { matched, total } = await b.api('GET', '/clients?filter=press-&limit=1')
        return page.getByText(`${matched} of ${total} clients`, { exact: true }).isVisible()
      })
      await page.getByRole('button', { name: 'In/s' }).click()
      await page.waitForURL(/sort=-in_rate/)
      await page.getByRole('link', { name: 'press-001' }).waitFor()
    })
  })
  test('the books of the page balance, and are those of the API', async () => {
    await on({ hash: '#/broker/books' }, async (page) => {
      await page.getByText('The books balance').waitFor()
      await until('denials in the books', async () => (await b.api('GET', '/books')).by_reason.denied_by_rule > 0)
      await page.getByRole('link', { name: /denied by rule/ }).waitFor()
      await page.getByRole('row', { name: /^routed/ }).waitFor()
    })
  })
  test('charts have lines for what flowed', async () => {
    await until('a history', async () => (await b.api('GET', '/history?metric=messages_received,messages_dropped')).series.length >= 2)
    await on({ hash: '#/broker/load?span=900' }, async (page) => {
      for (const name of ['Messages per second', 'Clients connected', 'Bytes per second', 'Dropped per second', 'Processor, cores', 'Connects per second']) await page.getByRole('figure', { name, exact: true }).waitFor()
      await page.getByText('Test messages', { exact: true }).waitFor()
    })
  })
  test('the tree goes into levels without a name, and a branch shows its sums', async () => {
    await on({ hash: '#/topics?topic=' + encodeURIComponent('/legacy/press-4/celsius') }, async (page) => {
      await page.getByRole('treeitem', { name: /celsius/ }).waitFor()
      assert.equal(await page.getByRole('treeitem', { name: /^plant/ }).count(), 1, 'the level without a name does not hold the whole tree')
      await go(page, '#/topics?topic=' + encodeURIComponent('plant/line-1'))
      await page.getByText('The figures are sums').waitFor()
    })
  })
  test('the heaviest, the unheard and the unfed', async () => {
    await on({ hash: '#/topics/top' }, async (page) => {
      await page.getByText('Exact counts.').waitFor()
      await page.getByRole('link', { name: /^plant\/line-0\/press-1\/temperature\s*[1-9]/ }).waitFor()
      await go(page, '#/topics/unheard')
      await page.getByText('lonely/press-001').waitFor()
      await go(page, '#/topics/unfed')
      await page.getByText('plnat/typo/#').waitFor()
      await page.getByRole('link', { name: 'display-1' }).waitFor()
    })
  })
})

describe('what is done', () => {
  test('a client is disconnected after its effect was told', async () => {
    const victim = await p.join({ id: 'victim', clean: false })
    await victim.subscribe('plant/none/#')
    await on({ hash: '#/clients/victim', refused: [404] }, async (page) => {
      await page.getByRole('button', { name: 'Disconnect' }).click()
      const dialog = page.getByRole('dialog')
      await dialog.getByText(/1 subscription and 0 queued messages wait for it/).waitFor()
      assert.equal(victim.closed, false)
      await dialog.getByRole('button', { name: 'Disconnect' }).click()
      await told(page, 'victim is disconnected')
      await until('the connection to close', () => victim.closed)
      await page.getByText(/offline/).first().waitFor()
      await page.getByRole('button', { name: 'End session' }).click()
      await dialog.getByRole('button', { name: 'End it' }).click()
      await told(page, 'The session of victim ended')
    })
    await assert.rejects(b.api('GET', '/clients/victim'), /404/)
  })
  test('the MQTT client of the page publishes, subscribes, and is seen in Topics', async () => {
    await on({ hash: '#/mqtt' }, async (page) => {
      await page.getByLabel('User', { exact: true }).fill('press')
      await page.getByRole('textbox', { name: 'Password' }).fill(p.pass)
      await page.getByLabel('Client id').fill('browser-1')
      await page.getByRole('button', { name: 'Connect', exact: true }).click()
      await page.getByText('connected as').waitFor()
      await page.getByLabel('Filter').fill('plant/browser/#')
      await page.locator('form', { has: page.getByLabel('Filter') }).getByLabel('QoS').selectOption('2')
      await page.getByRole('button', { name: 'Subscribe' }).click()
      await page.locator('.subs code', { hasText: 'plant/browser/#' }).waitFor()
      for (const qos of ['0', '1', '2']) {
        const form = page.locator('form', { has: page.getByLabel('Topic', { exact: true }) })
        await form.getByLabel('Topic', { exact: true }).fill('plant/browser/' + qos)
        await form.getByLabel('Payload').fill(`{"from":"the page","qos":${qos}}`)
        await form.getByLabel('QoS').selectOption(qos)
        await form.getByRole('button', { name: 'Publish' }).click()
        await page.locator('.message', { hasText: 'received' }).filter({ hasText: 'plant/browser/' + qos }).filter({ hasText: `QoS ${qos}` }).waitFor()
      }
      await until('the display to get it', () => p.display.messages.some((m) => m.topic === 'plant/browser/2'))
      await go(page, '#/clients/browser-1')
      await page.getByText('MQTT 5.0, without TLS').waitFor()
      await go(page, '#/topics?topic=plant/browser/2')
      await page.getByText('"the page"').waitFor()
      await page.getByRole('link', { name: 'browser-1' }).first().waitFor()
      await go(page, '#/mqtt')
      await page.getByRole('button', { name: 'Disconnect' }).click()
      await page.getByRole('button', { name: 'Connect', exact: true }).waitFor()
    })
  })
  test('a wrong password of the MQTT client is told as the broker tells it', async () => {
    await on({ hash: '#/mqtt' }, async (page) => {
      await page.getByLabel('User', { exact: true }).fill('press')
      await page.getByRole('textbox', { name: 'Password' }).fill('wrong')
      await page.getByRole('button', { name: 'Connect', exact: true }).click()
      await page.getByText(/bad user name or password|not authorized/i).waitFor()
    })
  })
  test('retained messages are deleted after a preview, and brought back', async () => {
    for (let i = 0; i < 12; i++) await p.machines[0].publish(`plant/old/${i}`, 'old', { retain: true, qos: 1 })
    const count = async () => (await b.api('GET', '/retained?filter=plant/old/%23&limit=1')).matched
    await until('twelve messages', async () => (await count()) === 12)
    await on({ hash: '#/retained?filter=' + encodeURIComponent('plant/old/#') }, async (page) => {
      await page.getByText(/^12 /).first().waitFor()
      await page.getByRole('button', { name: 'Delete these' }).click()
      const dialog = page.getByRole('dialog')
      await dialog.getByText(/^plant\/old\/\d+$/).first().waitFor()
      assert.equal(await count(), 12)
      await dialog.getByText('The same on the command line').click()
      await dialog.getByText("sapwood retained delete --confirm=12 'plant/old/#'").waitFor()
      await dialog.getByRole('button', { name: 'Delete 12' }).click()
      await told(page, '12 messages are deleted')
      assert.equal(await count(), 0)
      await go(page, '#/retained/snapshots')
      await page.getByRole('button', { name: 'Restore' }).first().click()
      await dialog.getByRole('button', { name: 'Restore' }).click()
      await told(page, 'The messages are back')
      assert.equal(await count(), 12)
    })
  })
  test('a live trace shows the packets of a client, and where a client went is looked back', async () => {
    await on({ hash: '#/trace?client=press-001' }, async (page) => {
      await page.getByRole('button', { name: 'Start' }).click()
      await page.getByRole('cell', { name: /PUBLISH/ }).first().waitFor()
      await page.getByRole('link', { name: 'plant/line-0/press-1/temperature' }).first().waitFor()
      const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'pcapng' }).click()])
      assert.match(file.suggestedFilename(), /pcapng$/)
      await go(page, '#/trace')
      await page.getByRole('button', { name: /^End/ }).first().click()
      await page.getByRole('dialog').getByRole('button', { name: 'End it' }).click()
      await told(page, 'The trace is ended')
      await go(page, '#/clients/press-001/trace')
      await page.getByRole('cell', { name: /PUBLISH/ }).first().waitFor()
    })
  })
  test('a denial is explained by its rule', async () => {
    await on({ hash: '#/clients/press-001' }, async (page) => {
      await page.getByText(/no commands by devices/).first().waitFor()
      await go(page, '#/security/denials')
      await page.getByRole('link', { name: /press-001 plant\/line-1\/cmd/ }).waitFor()
    })
  })
})

test('a viewer reads every page and finds no action', async () => {
  await on({ user: '<i onclick=alert(6)>viewer', password: viewer, refused: [403] }, async (page) => {
    await page.getByText('<i onclick=alert(6)>viewer', { exact: true }).waitFor()
    for (const [place, names] of [['#/clients/press-001', ['Disconnect', 'Ban', 'Quarantine']], ['#/clients/archive/queue', ['Purge…']], ['#/retained', ['Delete these…']], ['#/trace', ['Start']], ['#/security/users', ['User']], ['#/security/rules', ['Rule']], ['#/security/bans', ['Ban']], ['#/broker/store', ['Compact…']], ['#/broker/config', ['Reload…']]]) {
      await go(page, place)
      await settled(page)
      for (const name of names) assert.equal(await page.getByRole('button', { name, exact: true }).count(), 0, `${place}: ${name}`)
    }
  })
})

test('who is called as an attack is found by the link that leads to its clients', async () => {
  await on({ hash: '#/security/users' }, async (page) => {
    await page.getByRole('link', { name: hostile[0], exact: true }).click()
    await page.getByText(`${hostile.length} of `).waitFor()
    for (const id of hostile) await page.locator('.vtable').getByRole('link', { name: id, exact: true }).waitFor()
  })
})

// F190: what clients name themselves, their topics, their users and what they send runs in no page of an admin.
test('[F190] names and payloads of attackers stay text', async () => {
  await on({ hash: '#/clients' }, async (page) => {
    for (const id of hostile) {
      await go(page, '#/clients/' + encodeURIComponent(id))
      await page.getByRole('heading', { name: id }).waitFor()
      if (id.includes('#')) continue
      await go(page, '#/topics?topic=' + encodeURIComponent('hostile/' + id.replaceAll('+', '')))
      await page.locator('.payload-text', { hasText: id }).waitFor()
    }
    for (const id of hostile) {
      await go(page, '#/ask?client=' + encodeURIComponent(id) + '&topic=' + encodeURIComponent('hostile/' + id.replace(/[+#]/g, '')))
      await page.getByRole('link', { name: id }).first().waitFor()
      await settled(page)
      assert.equal(await page.locator('main img, main script, main iframe, main i[onclick], [onerror]').count(), 0, 'ask ' + id)
    }
    for (const place of ['#/clients', '#/broker/delivery', '#/ask?client=stranger', '#/clients?filter=img', '#/events?text=img', '#/retained?filter=hostile/%23', '#/topics/unheard', '#/security/users', '#/security/operators', '#/security/denials', '#/security/audit', '#/now']) {
      await go(page, place)
      await settled(page)
      assert.equal(await page.locator('main img, main script, main iframe, main i[onclick], [onerror]').count(), 0, place)
    }
  })
})

test('the lines to copy work as they are', async () => {
  const { key } = await b.api('POST', '/keys', { name: 'copied', scopes: ['admin'] })
  const trace = await b.api('POST', '/traces', { client: 'press-001', payload_bytes: 0, seconds: 3600 })
  const bin = join(b.dir, 'bin')
  mkdirSync(bin)
  symlinkSync(b.binary, join(bin, 'sapwood'))
  writeFileSync(join(bin, 'curl'), '#!/bin/sh\nexec /usr/bin/curl -fsS "$@"\n', { mode: 0o755 })
  const env = { PATH: `${bin}:${process.env.PATH}`, HOME: b.dir, SAPWOOD_API_URL: b.url, SAPWOOD_API_KEY: key, SAPWOOD_URL: `mqtt://press:${encodeURIComponent(p.pass)}@127.0.0.1:${b.port}` }
  const offered = new Set()
  await on({}, async (page) => {
    for (const { hash } of places({ trace: trace.id })) {
      await go(page, hash)
      await settled(page)
      if (await page.getByRole('button', { name: 'Copy as', exact: true }).count()) for (const l of await lines(page)) offered.add(l)
    }
  })
  assert.ok(offered.size > 60, `only ${offered.size} lines`)
  // Those who listen hear something.
  const happens = setInterval(() => {
    p.machines[0].publish('shop/012/state', 'on')
    b.client({ id: 'passer-by', user: 'press', pass: p.pass }).then((c) => c.end(), () => {})
  }, 500)
  happens.unref()
  const bad = []
  const person = { ...env, SAPWOOD_API_KEY: '', SAPWOOD_ADMIN_PASSWORD: b.password }
  /** Runs a line. What goes on until it is interrupted is good once it says something; 3 is the answer that a rule denies it. */
  const run = (line) => new Promise((done) => {
    const goesOn = /\/stream|download|--follow|^sapwood (trace|sub) /.test(line)
    let said = false
    const as = /^sapwood (operators|keys) |ADMIN_PASSWORD/.test(line) ? person : env
    const running = execFile('bash', ['-c', line], { env: as, timeout: patience, maxBuffer: Infinity }, (e, _out, err) => {
      if (e && !said && !(e.code === 3 && line.startsWith('sapwood acl explain '))) bad.push(`${line}\n${e.killed ? 'said nothing' : e.code} ${err}`)
      done()
    })
    if (goesOn) running.stdout.once('data', () => { said = true; running.kill() })
  })
  // top needs a terminal; whether a key may publish is up to the rules; where nobody has asked yet, the line has words in place of names.
  for (const line of offered) if (line !== 'sapwood top' && !line.includes('/publish') && !/\b(CLIENT|TOPIC)\b/.test(line)) await run(line)
  clearInterval(happens)
  assert.deepEqual(bad, [])
})

test('every page is accessible and fits, in both themes and on a phone', async () => {
  const pictures = process.env.TOUR ? fileURLToPath(new URL('../../../docs/tour/', import.meta.url)) : undefined
  await on({}, async (page) => {
    // For pictures there is a bit of a past.
    if (pictures) await until('a past to show', async () => (await b.api('GET', '/stats')).uptime_seconds > 100, 300_000)
    const trace = await b.api('POST', '/traces', { client: 'press-001', payload_bytes: 256, seconds: 3600 })
    const shoot = ({ name, title }, view) => view === 'phone' ? phones.includes(name) : !!title
    assert.deepEqual(await sweep(page, places({ trace: trace.id }), { pictures, shoot, check: !pictures, format: 'webp' }), [])
  })
  if (pictures) writeFileSync(`${pictures}../tour.md`, write())
})
