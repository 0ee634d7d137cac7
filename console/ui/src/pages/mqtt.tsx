// A client of MQTT in the page: it connects as any other, by WebSocket, with the rights of the user that is given.
import { signal } from '@preact/signals'
import { useState } from 'preact/hooks'
import { can, post, root } from '../api'
import { bytes, cli, clock, num, span } from '../format'
import { Client, type Properties, reason, type Received } from '../mqtt5'
import { to } from '../route'
import { Badge, Button, Card, cx, Empty, Field, Head, Note } from '../ui/basics'
import { Commands } from '../ui/copyas'
import { toast } from '../ui/dialog'

interface Shown { key: number; at: Date; own: boolean; topic: string; text: string; size: number; qos: number; retain: boolean; properties: Properties; note?: string }

// The connection outlives the page within the console, so that one can look elsewhere meanwhile.
const client = signal<Client | undefined>(undefined)
const about = signal<{ id: string; present: boolean; properties: Properties } | undefined>(undefined)
const messages = signal<Shown[]>([])
const subscriptions = signal<{ filter: string; qos: number; code: number; reason?: string }[]>([])
const failure = signal('')
const paused = signal(false)
const most = 300
let count = 0

const strict = new TextDecoder('utf-8', { fatal: true })
function readable(b: Uint8Array): string {
  try { return strict.decode(b) } catch { return [...b.slice(0, 2048)].map((x) => x.toString(16).padStart(2, '0')).join(' ') }
}

function show(m: Received, own: boolean, note?: string) {
  if (paused.value && !own) return
  messages.value = [{ key: ++count, at: new Date(), own, topic: m.topic, text: readable(m.payload), size: m.payload.length, qos: m.qos, retain: m.retain, properties: m.properties, ...(note ? { note } : {}) }, ...messages.value.slice(0, most - 1)]
}

const defaultUrl = () => root.replace(/^http/, 'ws') + 'mqtt'

export default function Mqtt() {
  return (
    <div class="page">
      <Head title="MQTT client" sub={about.value ? <>connected as <a href={to('clients', [about.value.id])}>{about.value.id}</a></> : 'not connected'} command={[{ what: 'Publish by the API', method: 'POST', path: '/publish', body: { topic: 'shop/012/cmd', payload: 'on', encoding: 'text', qos: 1 }, cli: cli('pub', [], { topic: 'shop/012/cmd', message: 'on', qos: 1 }) }, { what: 'Subscribe', path: '/topics', cli: cli('sub', [], { topic: 'shop/012/#' }) }]} />
      <div class="mqtt">
        <div class="mqtt-side"><Connection />{client.value && <><Subscribe /><Publish /></>}{can('operator') && <Request />}</div>
        <Card title="Messages" extra={<><Button small icon={paused.value ? 'play' : 'pause'} onClick={() => { paused.value = !paused.value }}>{paused.value ? 'Go on' : 'Pause'}</Button><Button small onClick={() => { messages.value = [] }}>Clear</Button></>}>
          {messages.value.length ? <div class="messages">{messages.value.map((m) => <Message key={m.key} m={m} />)}</div> : <Empty icon="mqtt" title={client.value ? 'Nothing came yet' : 'Connect first'}>{client.value ? 'Subscribe to a filter, or publish.' : 'It is a client like any other: what it may do is up to its user.'}</Empty>}
        </Card>
      </div>
    </div>
  )
}

function Connection() {
  const [f, set] = useState({ url: defaultUrl(), id: `console-${Math.random().toString(36).slice(2, 8)}`, user: '', password: '', clean: true, expiry: 0, keepAlive: 30, willTopic: '', willPayload: '' })
  const [busy, setBusy] = useState(false)
  const text = (k: 'url' | 'id' | 'user' | 'password' | 'willTopic' | 'willPayload', more: Record<string, unknown> = {}) => <input value={f[k]} spellcheck={false} onInput={(e) => set({ ...f, [k]: e.currentTarget.value })} {...more} />
  const connect = async (e: Event) => {
    e.preventDefault()
    setBusy(true)
    failure.value = ''
    try {
      const c = await Client.connect({ url: f.url, clientId: f.id, user: f.user, password: f.password, cleanStart: f.clean, sessionExpiry: f.expiry, keepAlive: f.keepAlive, ...(f.willTopic ? { will: { topic: f.willTopic, payload: f.willPayload, qos: 0, retain: false } } : {}) })
      c.client.onMessage = (m) => show(m, false)
      c.client.onClose = (why) => { client.value = undefined; about.value = undefined; subscriptions.value = []; if (why !== 'disconnected') failure.value = why }
      client.value = c.client
      about.value = { id: c.properties.assignedId ?? f.id, present: c.present, properties: c.properties }
    } catch (e) { failure.value = (e as Error).message } finally { setBusy(false) }
  }
  const a = about.value
  if (a) {
    const p = a.properties
    return (
      <Card title="Connection" extra={<Button small onClick={() => client.value?.disconnect()}>Disconnect</Button>}>
        <p>{a.id} <Badge tone="ok">MQTT 5.0</Badge> {a.present && <Badge tone="accent">session resumed</Badge>}</p>
        <p class="faint">{[p.receiveMaximum && `receive maximum ${p.receiveMaximum}`, p.maximumPacketSize && `packets up to ${bytes(p.maximumPacketSize)}`, p.topicAliasMaximum && `${p.topicAliasMaximum} topic aliases`, p.serverKeepAlive && `keep alive ${span(p.serverKeepAlive)}`, p.sessionExpiry !== undefined && `session kept ${span(p.sessionExpiry)}`].filter(Boolean).join(' · ')}</p>
      </Card>
    )
  }
  return (
    <Card title="Connection">
      <form class="form" onSubmit={connect}>
        {failure.value && <Note tone="bad">{failure.value}</Note>}
        <div class="form-row"><Field label="User">{text('user', { autocomplete: 'off', placeholder: 'anonymous' })}</Field><Field label="Password">{text('password', { type: 'password', autocomplete: 'off' })}</Field></div>
        <Field label="Client id">{text('id')}</Field>
        <details><summary>More</summary><div class="form" style={{ marginTop: '10px' }}>
          <Field label="Address">{text('url')}</Field>
          <div class="form-row"><Field label="Keep alive, s"><input type="number" min="0" max="65535" value={f.keepAlive} onInput={(e) => set({ ...f, keepAlive: Number(e.currentTarget.value) })} /></Field><Field label="Session kept, s"><input type="number" min="0" value={f.expiry} onInput={(e) => set({ ...f, expiry: Number(e.currentTarget.value) })} /></Field></div>
          <label class="check"><input type="checkbox" checked={f.clean} onChange={(e) => set({ ...f, clean: e.currentTarget.checked })} /> clean start</label>
          <div class="form-row"><Field label="Will topic">{text('willTopic')}</Field><Field label="Will payload">{text('willPayload')}</Field></div>
        </div></details>
        <Button type="submit" kind="primary" busy={busy}>Connect</Button>
      </form>
    </Card>
  )
}

function Subscribe() {
  const [filter, setFilter] = useState('')
  const [qos, setQos] = useState(0)
  const [more, setMore] = useState({ noLocal: false, asPublished: false, handling: 0 })
  const add = async (e: Event) => {
    e.preventDefault()
    try {
      const r = await client.value!.subscribe(filter, qos, more)
      subscriptions.value = [...subscriptions.value.filter((s) => s.filter !== filter), { filter, qos, ...r }]
      if (r.code < 0x80) setFilter('')
    } catch (e) { toast((e as Error).message, true) }
  }
  const drop = async (f: string) => {
    try { await client.value?.unsubscribe(f) } catch { /* it is gone with the connection */ }
    subscriptions.value = subscriptions.value.filter((s) => s.filter !== f)
  }
  return (
    <Card title="Subscriptions">
      <form class="form" onSubmit={add}>
        <div class="form-row"><Field label="Filter"><input required value={filter} onInput={(e) => setFilter(e.currentTarget.value)} placeholder="shop/#" spellcheck={false} autocapitalize="none" /></Field><Field label="QoS"><select value={String(qos)} onChange={(e) => setQos(Number(e.currentTarget.value))}><option>0</option><option>1</option><option>2</option></select></Field></div>
        <details><summary>Options</summary>
          <label class="check"><input type="checkbox" checked={more.noLocal} onChange={(e) => setMore({ ...more, noLocal: e.currentTarget.checked })} /> not what this client publishes</label>{' '}
          <label class="check"><input type="checkbox" checked={more.asPublished} onChange={(e) => setMore({ ...more, asPublished: e.currentTarget.checked })} /> retain as published</label>
          <Field label="Retained messages"><select value={String(more.handling)} onChange={(e) => setMore({ ...more, handling: Number(e.currentTarget.value) })}><option value="0">at every subscribe</option><option value="1">only if it is new</option><option value="2">none</option></select></Field>
        </details>
        <Button type="submit">Subscribe</Button>
      </form>
      <ul class="subs">{subscriptions.value.map((s) => <li key={s.filter}><code>{s.filter}</code>{s.code >= 0x80 ? <Badge tone="bad" title={s.reason ?? ''}>{reason(s.code)}</Badge> : <Badge>QoS {s.code}</Badge>}<Button small kind="ghost" icon="close" aria-label={`Unsubscribe ${s.filter}`} onClick={() => void drop(s.filter)} /></li>)}</ul>
    </Card>
  )
}

function Publish() {
  const [f, set] = useState({ topic: '', payload: '', qos: 0, retain: false, expiry: '', contentType: '', responseTopic: '', correlation: '', user: '' })
  const [busy, setBusy] = useState(false)
  const text = (k: 'topic' | 'expiry' | 'contentType' | 'responseTopic' | 'correlation', more: Record<string, unknown> = {}) => <input value={f[k]} spellcheck={false} autocapitalize="none" onInput={(e) => set({ ...f, [k]: e.currentTarget.value })} {...more} />
  const send = async (e: Event) => {
    e.preventDefault()
    setBusy(true)
    const user = f.user.split('\n').filter((l) => l.includes('=')).map((l): [string, string] => { const i = l.indexOf('='); return [l.slice(0, i).trim(), l.slice(i + 1).trim()] })
    const properties: Properties = { ...(f.expiry ? { expiry: Number(f.expiry) } : {}), ...(f.contentType ? { contentType: f.contentType } : {}), ...(f.responseTopic ? { responseTopic: f.responseTopic } : {}), ...(f.correlation ? { correlation: f.correlation } : {}), ...(user.length ? { user } : {}) }
    const payload = new TextEncoder().encode(f.payload)
    try {
      const code = await client.value!.publish(f.topic, payload, f.qos, f.retain, properties)
      show({ topic: f.topic, payload, qos: f.qos, retain: f.retain, dup: false, properties }, true, f.qos ? reason(code) : undefined)
      if (code >= 0x80) toast(reason(code), true)
    } catch (e) { toast((e as Error).message, true) } finally { setBusy(false) }
  }
  return (
    <Card title="Publish">
      <form class="form" onSubmit={send}>
        <Field label="Topic">{text('topic', { required: true })}</Field>
        <Field label="Payload"><textarea rows={4} value={f.payload} onInput={(e) => set({ ...f, payload: e.currentTarget.value })} spellcheck={false} /></Field>
        <div class="form-row"><Field label="QoS"><select value={String(f.qos)} onChange={(e) => set({ ...f, qos: Number(e.currentTarget.value) })}><option>0</option><option>1</option><option>2</option></select></Field><label class="check"><input type="checkbox" checked={f.retain} onChange={(e) => set({ ...f, retain: e.currentTarget.checked })} /> retain</label></div>
        <details><summary>Properties</summary><div class="form" style={{ marginTop: '10px' }}>
          <div class="form-row"><Field label="Expires after, s">{text('expiry', { type: 'number', min: 1 })}</Field><Field label="Content type">{text('contentType', { placeholder: 'application/json' })}</Field></div>
          <div class="form-row"><Field label="Response topic">{text('responseTopic')}</Field><Field label="Correlation data">{text('correlation')}</Field></div>
          <Field label="User properties" hint="One name=value a line"><textarea rows={2} value={f.user} onInput={(e) => set({ ...f, user: e.currentTarget.value })} /></Field>
        </div></details>
        <Button type="submit" kind="primary" busy={busy}>Publish</Button>
      </form>
    </Card>
  )
}

interface Responded { topic: string; payload: string; encoding: string; content_type?: string; user_properties?: { name: string; value: string }[] | null; took_seconds: number }

/** A request to a device and its answer, by the API: it needs no connection, and is asked in the name of who is logged in. */
function Request() {
  const [f, set] = useState({ topic: '', payload: '', timeout: 10 })
  const [answer, setAnswer] = useState<Responded>()
  const [error, setError] = useState('')
  const [busy, setBusy] = useState(false)
  const body = { topic: f.topic, payload: f.payload, timeout_seconds: f.timeout }
  const send = async (e: Event) => {
    e.preventDefault()
    setBusy(true)
    setError('')
    setAnswer(undefined)
    try { setAnswer(await post<Responded>('/request', body)) } catch (e) { setError((e as Error).message) } finally { setBusy(false) }
  }
  return (
    <Card title="Request and response">
      <form class="form" onSubmit={send}>
        <p class="faint">A request with a response topic (MQTT 5), in your name. It needs no connection of this page.</p>
        <Field label="Request topic"><input required value={f.topic} onInput={(e) => set({ ...f, topic: e.currentTarget.value })} placeholder="plant/press-7/ask" spellcheck={false} autocapitalize="none" /></Field>
        <Field label="Request"><textarea rows={2} value={f.payload} onInput={(e) => set({ ...f, payload: e.currentTarget.value })} spellcheck={false} /></Field>
        <Field label="Wait, s"><input type="number" min="1" max="60" value={f.timeout} onInput={(e) => set({ ...f, timeout: Number(e.currentTarget.value) || 10 })} /></Field>
        <Button type="submit" busy={busy}>{busy ? 'Waiting …' : 'Send and wait'}</Button>
        {error && <Note tone="bad">{error}</Note>}
        {answer && <article class="message"><header><Badge tone="ok">answer</Badge><span class="topic">{answer.topic}</span><span class="faint">after {span(answer.took_seconds)}{answer.encoding === 'base64' ? ' · base64' : ''}</span></header>{answer.payload !== '' && <pre tabIndex={0}>{answer.payload}</pre>}{!!answer.user_properties?.length && <pre class="small">{answer.user_properties.map((p) => `${p.name} = ${p.value}`).join('\n')}</pre>}</article>}
        {f.topic && <details class="same"><summary>The same on the command line</summary><Commands commands={[{ method: 'POST', path: '/request', body, cli: cli('request', [f.topic, f.payload], { timeout: `${f.timeout}s` }) }]} /></details>}
      </form>
    </Card>
  )
}

const named: [keyof Properties, string][] = [['contentType', 'content type'], ['expiry', 'expires in s'], ['responseTopic', 'response topic'], ['correlation', 'correlation'], ['subscriptionIds', 'subscription id'], ['alias', 'alias']]

function Message({ m }: { m: Shown }) {
  const props = [...named.filter(([k]) => m.properties[k] !== undefined).map(([k, t]) => `${t}: ${String(m.properties[k])}`), ...(m.properties.user ?? []).map(([k, v]) => `${k} = ${v}`)]
  return (
    <article class="message">
      <header><Badge tone={m.own ? 'accent' : 'calm'}>{m.own ? 'sent' : 'received'}</Badge><span class="topic">{m.topic}</span>{m.retain && <Badge tone="accent">retained</Badge>}<span class="faint">QoS {m.qos} · {m.size < 1024 ? `${num(m.size)} B` : bytes(m.size)} · {clock(m.at, true)}</span>{m.note && <span class={cx('faint')}>{m.note}</span>}</header>
      {m.text !== '' && <pre tabIndex={0}>{m.text}</pre>}
      {props.length > 0 && <pre class="small">{props.join('\n')}</pre>}
    </article>
  )
}
