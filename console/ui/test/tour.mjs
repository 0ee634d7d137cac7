// The pages in the order in which the tour shows them, and what each is for. docs/tour.md is written from this.
const E = encodeURIComponent

export const tour = [
  { name: 'now', hash: '#/now', settle: 3000, title: 'Now', text: 'Is it fine? One sentence says so; problems, drops by reason, headroom and what changed in the last hour stand below it.' },
  { name: 'clients', hash: '#/clients', title: 'Clients', text: 'Every client and session, filtered and sorted by the server: `queued>100 user:shop*`.' },
  { name: 'client', hash: '#/clients/press-001', title: 'One client', text: 'Why it is as it is, with evidence and what to do; its flow, limits, will.' },
  { name: 'timeline', hash: '#/clients/press-001/events', title: 'Its timeline', text: 'Everything that happened to it, also before anybody looked.' },
  { name: 'subscriptions', hash: '#/clients/display-1/subscriptions', picture: false },
  { name: 'inflight', hash: '#/clients/panel-hall-2/inflight', picture: false },
  { name: 'queue', hash: '#/clients/archive/queue', title: 'Its queue', text: 'What waits for a client that is away; looking takes nothing out.' },
  { name: 'lookback', hash: '#/clients/press-001/trace', title: 'Looking back', text: 'The heads of its last packets, which are always kept.' },
  { name: 'topics', hash: '#/topics?topic=plant/line-0/press-1/temperature', settle: 3000, title: 'Topics', text: 'The live tree with rates; of one topic the last message, what changed in it, who gets it.' },
  { name: 'top', hash: '#/topics/top', picture: false },
  { name: 'search', hash: '#/topics/search?payload=celsius', picture: false },
  { name: 'unheard', hash: '#/topics/unheard', title: 'Unheard and unfed', text: 'What is published and nobody hears, and subscriptions that nothing ever matched.' },
  { name: 'unfed', hash: '#/topics/unfed', picture: false },
  { name: 'retained', hash: '#/retained?filter=' + E('plant/#'), title: 'Retained', text: 'What a new subscriber gets; deletion with a preview, and back from snapshots.' },
  { name: 'snapshots', hash: '#/retained/snapshots', picture: false },
  { name: 'events', hash: '#/events', title: 'Events', text: 'What happened, in sentences, as it happens and back for days.' },
  { name: 'ask', hash: '#/ask?topic=plant/press-1/state&client=panel-hall-2', title: 'Ask' },
  { name: 'ask-empty', hash: '#/ask', picture: false },
  { name: 'trace', hash: '#/trace', picture: false },
  { name: 'load', hash: '#/broker/load?span=900', settle: 3000, title: 'Load', text: 'What the broker does and what that costs; drag over a chart, and all show that time.' },
  { name: 'delivery', hash: '#/broker/delivery', title: 'Delivery' },
  { name: 'listeners', hash: '#/broker/listeners', picture: false },
  { name: 'store', hash: '#/broker/store', picture: false },
  { name: 'config', hash: '#/broker/config', title: 'Configuration', text: 'Every setting, where its value comes from, and what a reload would change.' },
  { name: 'books', hash: '#/broker/books', title: 'Books', text: 'Where every message and every copy of it ended; both accounts balance, or the broker says that they do not.' },
  { name: 'users', hash: '#/security/users', picture: false },
  { name: 'rules', hash: '#/security/rules', title: 'Security', text: 'Users, rules, explanations, denials, bans, operators, keys, and the audit log.' },
  { name: 'explain', hash: '#/security/explain', picture: false },
  { name: 'denials', hash: '#/security/denials', picture: false },
  { name: 'bans', hash: '#/security/bans', picture: false },
  { name: 'operators', hash: '#/security/operators', picture: false },
  { name: 'keys', hash: '#/security/keys', picture: false },
  { name: 'audit', hash: '#/security/audit', picture: false },
  { name: 'mqtt', hash: '#/mqtt', title: 'MQTT client', text: 'Publish and subscribe from the page, by MQTT 5.0 over WebSocket, as any other client.' },
]

/** The tour as a document. */
export const write = () => `# A tour of the console

A small plant: sixty presses publish, a display listens, an archive is away, a panel does not acknowledge, and somebody guesses passwords. The pictures are taken
from the real broker by \`npm run tour\` in \`console/ui\`; [console.md](console.md) tells how the console works.

${tour.filter((t) => t.picture !== false).map((t) => `## ${t.title}

${t.text}

<picture><source media="(prefers-color-scheme: dark)" srcset="tour/${t.name}-dark.png"><img src="tour/${t.name}-light.png" alt="${t.title}" width="900"></picture>
`).join('\n')}`
