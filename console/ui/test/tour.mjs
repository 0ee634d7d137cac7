// The pages in the order in which the tour shows them: the question, and what one sees. docs/tour.md is written from this.
import { pass } from './plant.mjs'

const E = encodeURIComponent

/** Each place has an address, perhaps what is done there before one looks (act), and with a title a part of the tour. */
export const places = ({ trace }) => [
  { name: 'now', hash: '#/now', title: 'Is it fine?', page: 'Now', text: 'One sentence answers, and names what is wrong if something is. Below it: who is online against what is usual at this hour, messages in and out, what waits, whether the broker’s own test messages arrive; what was dropped in the last hour and why; how much room is left; and what changed. Every number leads to the list behind it.' },
  { name: 'clients', hash: '#/clients?sort=-in_rate', title: 'Who is there, and who talks most?', page: 'Clients', text: 'A hundred thousand clients scroll as ten do. The server filters and sorts: `queued>100 user:press*`, `!tls:true`, `seen>5m connected:true`. The chips are filters that are often wanted.' },
  { name: 'bulk', hash: '#/clients?filter=' + E('user:sensor'), title: 'How do I act on many at once?', page: 'Clients, with a filter', text: 'Whatever is done to clients that pass a filter is told first, in figures and names, and done only to exactly so many. The same as a command is one click away.', act: async (page) => { await page.getByRole('group', { name: 'All clients with this filter' }).getByRole('button', { name: 'Quarantine…' }).click(); await page.getByRole('dialog').getByText('Such as').waitFor() } },
  { name: 'client', hash: '#/clients/panel-hall-2', title: 'Why does this one lag behind?', page: 'Clients, one of them', text: 'The broker says why, since when, and what to do; the events that prove it open below. Its traffic, its queue, its limits and how close it is to them, its will.' },
  { name: 'timeline', hash: '#/clients/press-001/events', title: 'What happened to it?', page: 'Clients, Timeline', text: 'Everything, in sentences, also from before anybody looked: connects, refusals with the reason, denials with the rule, drops with the limit.' },
  { name: 'queue', hash: '#/clients/archive/queue', title: 'What waits for a client that is away?', page: 'Clients, Queue', text: 'The messages as they wait, with payload, publisher and expiry. Looking takes nothing out; one can be removed or put to the end.' },
  { name: 'lookback', hash: '#/clients/press-001/trace', title: 'What did it send before it failed?', page: 'Clients, Look back', text: 'The heads of the last packets are kept for every client, always; runs of the same are one line.' },
  { name: 'inflight', hash: '#/clients/panel-hall-2/inflight' },
  { name: 'subscriptions', hash: '#/clients/display-1/subscriptions' },
  { name: 'ask', hash: '#/ask?client=display-1&topic=' + E('plant/line-1/cmd/stop'), title: 'Why did this message not arrive?', page: 'Ask', text: 'A client, a topic, or both: the answer is a sentence with its evidence, and below it everybody who would get such a message now, at which QoS, and by which rule.' },
  { name: 'ask-client', hash: '#/ask?client=stranger' },
  { name: 'ask-empty', hash: '#/ask' },
  { name: 'topics', hash: '#/topics?topic=plant/line-0/press-1/temperature', title: 'What flows here, and who gets it?', page: 'Topics', text: 'The live tree with rates and sums of every branch; of one topic the last message decoded (JSON, text, CBOR, MessagePack, Sparkplug B, else hex), the messages seen since, what changed between them, and its subscribers.' },
  { name: 'search', hash: '#/topics/search?payload=celsius' },
  { name: 'top', hash: '#/topics/top?by=bytes', title: 'Which topics are the heaviest?', page: 'Topics, Heaviest', text: 'By messages, bytes, copies or drops, without anything set up before; with a million topics found by a sketch, whose error is told.' },
  { name: 'unheard', hash: '#/topics/unheard', title: 'What is sent for nobody?', page: 'Topics, Unheard and Unfed', text: 'Published, and nobody subscribes; on the next tab subscriptions that nothing ever matched, which are often typos.' },
  { name: 'unfed', hash: '#/topics/unfed' },
  { name: 'retained', hash: '#/retained?filter=' + E('plant/air/#'), title: 'How do I clean up retained messages?', page: 'Retained', text: 'By topic filter, age and publisher. A deletion shows what it would take, and keeps a snapshot from which it can be undone.', act: async (page) => { await page.getByRole('button', { name: 'Delete these' }).click(); await page.getByRole('dialog').getByText('Such as').waitFor() } },
  { name: 'snapshots', hash: '#/retained/snapshots' },
  { name: 'events', hash: '#/events?kind=' + E('refused,taken_over,banned,quarantined,disconnected,will_sent'), title: 'What went wrong, everywhere?', page: 'Events', text: 'As it happens and back for days, by kind, client, topic, address, user, reason or words.' },
  { name: 'tracing', hash: '#/trace/' + trace, title: 'What is on the wire?', page: 'Trace', text: 'Packets of a client, a topic filter or an address as they come and go, decoded; as JSON lines, or as a file for Wireshark.', act: async (page) => { await page.getByRole('cell', { name: /PUBLISH/ }).nth(8).waitFor() } },
  { name: 'trace', hash: '#/trace' },
  { name: 'load', hash: '#/broker/load?span=900', title: 'What does it cost?', page: 'Broker, Load', text: 'What the broker does and what that takes, over thirty days that it keeps itself. Drag over one chart, and all show that time.' },
  { name: 'delivery', hash: '#/broker/delivery', title: 'Does it deliver, and how soon?', page: 'Broker, Delivery', text: 'The broker sends messages to itself all the time, at each QoS and the whole way that a device’s go: the share that arrived, how long it took, and when it did not.' },
  { name: 'listeners', hash: '#/broker/listeners' },
  { name: 'store', hash: '#/broker/store' },
  { name: 'config', hash: '#/broker/config', title: 'Why is it set like that?', page: 'Broker, Configuration', text: 'Every setting with its value, where it comes from, what it does, and whether a change waits for a restart. A reload shows first what it would change.' },
  { name: 'books', hash: '#/broker/books', title: 'Where did every message go?', page: 'Broker, Books', text: 'Two accounts, of messages and of the copies for their receivers. Both balance to the last one, over restarts too, or the broker says that they do not.' },
  { name: 'users', hash: '#/security/users' },
  { name: 'rules', hash: '#/security/rules' },
  { name: 'explain', hash: '#/security/explain?client=press-001&topic=' + E('plant/line-1/cmd/stop'), title: 'May it do that?', page: 'Security', text: 'Users, rules, bans, operators, API keys and the audit log. Explain asks the broker itself which rule decides.', act: async (page) => { await page.getByRole('button', { name: 'Explain' }).click(); await page.getByText('Denied', { exact: true }).waitFor() } },
  { name: 'denials', hash: '#/security/denials' },
  { name: 'bans', hash: '#/security/bans' },
  { name: 'operators', hash: '#/security/operators' },
  { name: 'keys', hash: '#/security/keys' },
  { name: 'audit', hash: '#/security/audit' },
  { name: 'mqtt', hash: '#/mqtt', title: 'Can I try it?', page: 'MQTT client', text: 'A client of MQTT 5.0 in the page, over WebSocket, with the rights of the user that is given; and requests that wait for a response.', act: async (page) => {
    await page.getByLabel('User', { exact: true }).fill('display')
    await page.getByRole('textbox', { name: 'Password' }).fill(pass)
    await page.getByRole('button', { name: 'Connect', exact: true }).click()
    await page.getByLabel('Filter').fill('plant/line-1/#')
    await page.getByRole('button', { name: 'Subscribe' }).click()
    await page.locator('.message').nth(4).waitFor()
    await page.getByRole('button', { name: 'Pause' }).click()
  } },
  { name: 'search-dialog', hash: '#/now', title: 'Do I need the mouse?', page: 'anywhere', text: '`/` finds clients, topics and pages, `f` goes into the filter, `g` and a letter opens a page, `?` lists all keys. “Copy as” on every page has the same as a curl line and a command.', act: async (page) => { await page.keyboard.press('/'); await page.getByRole('combobox').fill('press-00'); await page.getByRole('option', { name: /press-001/ }).first().waitFor() } },
]

export const phones = ['now', 'client', 'topics', 'ask']

/** The tour as a document. */
export const write = () => `# A tour of the console

Each page answers a question. This is a small plant: sixty presses and two dozen air sensors publish, a display listens, an archive is away, the panel of hall 2 does not
acknowledge, two devices claim to be press-060, and somebody guesses passwords. All pictures are of the real broker, taken by \`npm run tour\` in \`console/ui\`, which is one of its
tests; they are as light or dark as your browser. [console.md](console.md) tells how the console works, [why.md](why.md) how it knows.

${places({}).filter((t) => t.title).map((t) => `## ${t.title}

**${t.page}.** ${t.text}

<picture><source media="(prefers-color-scheme: dark)" srcset="tour/${t.name}-dark.webp"><img src="tour/${t.name}-light.webp" alt="${t.title} (${t.page})" width="900"></picture>
`).join('\n')}
## Does it work on a phone?

Yes: the same pages, with what matters first.

${phones.map((p) => `<img src="tour/${p}-phone.webp" alt="${p} on a phone" width="216">`).join(' ')}
`
