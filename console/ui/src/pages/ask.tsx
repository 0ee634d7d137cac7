// Questions in words: why a client is as it is, who would get a message, and why somebody did not.
import { useEffect, useState } from 'preact/hooks'
import { get, path, seg, useLoad } from '../api'
import { cli, num, term } from '../format'
import { requery, route, to } from '../route'
import type { Client, Page, Recipient, Route, Topic, Why } from '../types'
import { Badge, Button, Card, Dot, Empty, Field, Head, Note, Read, type Tone } from '../ui/basics'
import type { Command } from '../ui/copyas'
import { Icon } from '../ui/icons'
import { WhyAnswer } from '../ui/why'

export default function Ask() {
  const q = route.value.query
  const client = q.get('client') ?? '', topic = q.get('topic') ?? '', qos = q.get('qos') ?? '1'
  const commands: Command[] = [
    ...(topic && client ? [{ what: 'Why it did not get it', path: path('/why-not', { topic, client }), cli: cli('why-not', [topic, client]) }] : []),
    ...(topic ? [{ what: 'Who would get it', path: path('/route', { topic, qos }), cli: cli('route', [topic], { qos }) }] : []),
    ...(client && !topic ? [{ what: 'Why it is as it is', path: `/clients/${seg(client)}/why`, cli: cli('why', [client]) }] : []),
    ...(client || topic ? [] : [
      { what: 'Why a client is as it is', path: '/clients/CLIENT/why', cli: cli('why', ['CLIENT']) }, { what: 'Who would get a message', path: path('/route', { topic: 'TOPIC' }), cli: cli('route', ['TOPIC']) },
      { what: 'Why a client did not get it', path: path('/why-not', { topic: 'TOPIC', client: 'CLIENT' }), cli: cli('why-not', ['TOPIC', 'CLIENT']) },
    ]),
  ]
  return (
    <div class="page">
      <Head title="Ask" sub="Why is it so, who would get it, and why did it not arrive?" command={commands} />
      <Question key={`${client}\n${topic}\n${qos}`} client={client} topic={topic} qos={qos} />
      {topic && client && <WhyNot topic={topic} client={client} />}
      {client && !topic && <WhySo client={client} />}
      {topic && <Recipients topic={topic} qos={qos} client={client} />}
      {!topic && !client && <Examples />}
    </div>
  )
}

function Question(asked: { client: string; topic: string; qos: string }) {
  const [f, set] = useState(asked)
  const submit = (e: Event) => { e.preventDefault(); requery({ client: f.client.trim(), topic: f.topic, qos: f.topic && f.qos !== '1' ? f.qos : undefined }) }
  return (
    <section class="card" aria-label="The question">
      <form class="ask" onSubmit={submit}>
        <Field label="Client"><Suggest value={f.client} onInput={(v) => set({ ...f, client: v })} placeholder="client id, or an address" find={clientIds} focus={!asked.client && !asked.topic} /></Field>
        <Field label="Topic"><Suggest value={f.topic} onInput={(v) => set({ ...f, topic: v })} placeholder="such as plant/line-1/press-7/state" find={topicNames} /></Field>
        <Field label="QoS of the message"><select value={f.qos} onChange={(e) => set({ ...f, qos: e.currentTarget.value })}><option>0</option><option>1</option><option>2</option></select></Field>
        <Button type="submit" kind="primary" disabled={!f.client.trim() && !f.topic}>Ask</Button>
      </form>
    </section>
  )
}

const examples: [string, string, string][] = [
  ['A client alone', 'Why is it disconnected, refused, silent or slow?', 'Also for what was long before anybody looked, and for addresses from which nobody got in.'],
  ['A topic alone', 'Who would get a message that is published to it now?', 'Every subscription that matches, at which QoS, what would become of the message there, and by which rule. Nothing is published.'],
  ['Both', 'Why did this client not get that message?', 'No subscription matches, a rule denies it, it was dropped at a limit, it waits in the queue, it expired, or nobody published it.'],
]

function Examples() {
  return <div class="columns">{examples.map(([title, question, text]) => <Card key={title} title={title}><p class="strong">{question}</p><p class="faint card-foot">{text}</p></Card>)}</div>
}

const clientIds = (text: string, signal: AbortSignal) => get<Page<Client>>(path('/clients', { filter: term(text), limit: 8 }), { signal }).then((p) => (p.items ?? []).map((c) => c.id))
const topicNames = (text: string, signal: AbortSignal) => get<Page<Topic>>(path('/topics', { filter: term(text), limit: 8 }), { signal }).then((p) => (p.items ?? []).map((t) => t.topic))

let lists = 0

/** A field that offers what there is. */
function Suggest({ value, onInput, placeholder, find, focus }: { value: string; onInput: (v: string) => void; placeholder: string; find: (text: string, signal: AbortSignal) => Promise<string[]>; focus?: boolean }) {
  const [id] = useState(() => `suggest-${++lists}`)
  const [found, setFound] = useState<string[]>([])
  useEffect(() => {
    if (value.length < 2 || found.includes(value)) return
    const abort = new AbortController()
    const timer = setTimeout(() => { find(value, abort.signal).then(setFound, () => setFound([])) }, 200)
    return () => { clearTimeout(timer); abort.abort() }
  }, [value])
  return <><input list={id} value={value} placeholder={placeholder} onInput={(e) => onInput(e.currentTarget.value)} autofocus={focus} spellcheck={false} autocomplete="off" autocapitalize="none" maxLength={65535} /><datalist id={id}>{found.map((f) => <option key={f} value={f} />)}</datalist></>
}

function WhyNot({ topic, client }: { topic: string; client: string }) {
  const why = useLoad<Why>(path('/why-not', { topic, client }))
  return (
    <Card title={<>Why <a href={to('clients', [client])}>{client}</a> did not get <a href={to('topics', [], { topic })}>{topic}</a></>} extra={<Button kind="ghost" small icon="refresh" onClick={why.reload}>Ask again</Button>} class="why wrap">
      <Read from={why} what="the answer" rows={2}>{(w) => <WhyAnswer why={w} open />}</Read>
    </Card>
  )
}

function WhySo({ client }: { client: string }) {
  const why = useLoad<Why>(`/clients/${seg(client)}/why`)
  return (
    <Card title={<>Why <a href={to('clients', [client])}>{client}</a> is as it is</>} extra={<Button kind="ghost" small icon="refresh" onClick={why.reload}>Ask again</Button>} class="why wrap">
      <Read from={why} what="the answer" rows={2}>{(w) => <WhyAnswer why={w} open />}</Read>
    </Card>
  )
}

const outcomes: Record<string, [Tone, string]> = { sent: ['ok', 'would be sent'], queued: ['ok', 'would wait'], shared: ['accent', 'shared'], dropped: ['bad', 'would be dropped'], denied: ['bad', 'denied'], skipped: ['calm', 'left out'] }
const order = Object.keys(outcomes)
const most = 200

function Recipients({ topic, qos, client }: { topic: string; qos: string; client: string }) {
  const found = useLoad<Route>(path('/route', { topic, qos }))
  return (
    <Card title={<>Who would get a message of <a href={to('topics', [], { topic })}>{topic}</a></>} extra={<Button kind="ghost" small icon="refresh" onClick={found.reload}>Ask again</Button>} class="wrap">
      <Read from={found} what="the recipients" rows={3}>{(r) => {
        const items = [...(r.items ?? [])].sort((a, b) => Number(b.client === client) - Number(a.client === client) || order.indexOf(a.outcome) - order.indexOf(b.outcome))
        if (!items.length) return <Empty icon="topics" title="Nobody would get it">No subscription of any client matches this topic, connected or not.</Empty>
        return (
          <>
            <p class="why-text">{r.receive === 0 ? 'Nobody would get it' : r.receive === 1 ? 'One subscription would get it' : `${num(r.receive)} subscriptions would get it`}, of {num(items.length)} that {items.length === 1 ? 'matches' : 'match'}.</p>
            <div class="table-scroll" tabIndex={0} role="region" aria-label="Recipients"><table class="table plain">
              <caption class="sr">Subscriptions that match {topic}</caption>
              <thead><tr><th scope="col">Client</th><th scope="col">What becomes of it</th><th scope="col">Subscribed</th><th scope="col" class="right">QoS</th><th scope="col" class="right">Before it</th><th scope="col">Rule</th></tr></thead>
              <tbody>{items.slice(0, most).map((x) => <RecipientRow key={x.client + '\n' + x.filter} r={x} asked={x.client === client} />)}</tbody>
            </table></div>
            {items.length > most && <Note>These are {num(most)} of {num(items.length)}. Name a client to have its line first.</Note>}
          </>
        )
      }}</Read>
    </Card>
  )
}

function RecipientRow({ r, asked }: { r: Recipient; asked: boolean }) {
  const [tone, word] = outcomes[r.outcome] ?? ['calm', r.outcome]
  return (
    <tr class={asked ? 'picked' : undefined}>
      <td><span class="with-dot"><Dot tone={r.connected ? 'ok' : 'calm'} label={r.connected ? 'connected' : 'offline'} /><a class="wrap" href={to('clients', [r.client])}>{r.client}</a></span></td>
      <td><Badge tone={tone}>{word}</Badge>{r.why && <div class="faint">{r.why}</div>}</td>
      <td class="mono wrap">{r.filter}{r.group && <div class="faint">one of {num(r.members ?? 1)} in {r.group}</div>}</td>
      <td class="right">{r.qos}</td>
      <td class="right" title="QoS 1 and 2 messages that wait before it">{num(r.waiting)}</td>
      <td>{r.rule ? <a href={to('security', ['rules'])}>{r.rule}</a> : <span class="faint">–</span>}</td>
    </tr>
  )
}

/** A small form that leads to the answer, for pages that know one half of the question. */
export function AskAbout({ client, topic }: { client?: string; topic?: string }) {
  const [other, set] = useState('')
  const submit = (e: Event) => { e.preventDefault(); if (other.trim()) location.hash = to('ask', [], { client: client ?? other.trim(), topic: topic ?? other }) }
  return (
    <form class="ask-about" onSubmit={submit}>
      <label><span>{client !== undefined ? 'Did it miss messages of a topic?' : 'Did a client not get it?'}</span>
        <Suggest value={other} onInput={set} placeholder={client !== undefined ? 'topic' : 'client id'} find={client !== undefined ? topicNames : clientIds} /></label>
      <Button type="submit" small disabled={!other.trim()}><Icon name="help" size={15} />Why</Button>
    </form>
  )
}
