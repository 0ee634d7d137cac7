// Packets as they come and go, of a client, a topic or an address.
import { useState } from 'preact/hooks'
import { apiRoot, call, can, post, seg, useList } from '../api'
import { cli, counted, num, span } from '../format'
import { go, route, to } from '../route'
import type { Trace as Running, TraceLine } from '../types'
import { Act, Ago, Badge, Button, Card, Empty, Field, Head, Note, Read } from '../ui/basics'
import { ask, toast } from '../ui/dialog'
import { Lines, summary } from '../ui/lines'
import { useStream } from '../ui/stream'

export default function Trace() {
  const id = route.value.parts[0]
  return id === undefined ? <Start /> : <Watch key={id} id={id} />
}

const subject = (t: Running) => (t.client ? ['client', t.client] : t.topic ? ['topic', t.topic] : ['address', t.address ?? '']) as [string, string]

function Start() {
  const q = route.value.query
  const [what, setWhat] = useState(q.get('topic') ? 'topic' : q.get('address') ? 'address' : 'client')
  const [value, setValue] = useState(q.get('client') ?? q.get('topic') ?? q.get('address') ?? '')
  const [seconds, setSeconds] = useState(600)
  const [bytes, setBytes] = useState(256)
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const traces = useList<Running>('/traces', 3000)
  const body = { [what]: value, payload_bytes: bytes, seconds }
  const start = async (e: Event) => {
    e.preventDefault()
    setBusy(true)
    setError('')
    try { const t = await post<Running>('/traces', body); go(to('trace', [t.id])) } catch (e) { setError((e as Error).message) } finally { setBusy(false) }
  }
  const end = (t: Running, over = t.running === false) => ask({
    title: over ? 'Delete the trace' : 'End the trace', confirm: over ? 'Delete it' : 'End it', done: traces.reload,
    effect: <p>{over ? `It has ended. What it kept goes: ${counted(t.kept ?? t.packets, 'packet')} of ${subject(t).join(' ')}.` : `No more packets of ${subject(t).join(' ')} are kept, and those that were are gone.`} Download them first if you need them.</p>,
    command: () => ({ method: 'DELETE', path: `/traces/${seg(t.id)}` }),
    run: async () => { await call('DELETE', `/traces/${seg(t.id)}`); return over ? 'The trace is deleted' : 'The trace is ended' },
  })
  return (
    <div class="page">
      <Head title="Trace" sub="Packets as they come and go, decoded" command={[{ what: 'Traces that there are', path: '/traces' }, ...(value ? [{ what: 'Start this one', method: 'POST', path: '/traces', body, cli: cli('trace', what === 'client' ? [value] : [], { ...(what === 'client' ? {} : { [what]: value }), for: `${seconds}s`, payload: bytes }) }] : [])]} />
      {can('operator') && !traces.error?.missing && <Card title="Start a trace">
        <form class="form" onSubmit={start}>
          <div class="form-row">
            <Field label="Of"><select value={what} onChange={(e) => setWhat(e.currentTarget.value)}><option value="client">a client</option><option value="topic">a topic filter</option><option value="address">an address</option></select></Field>
            <Field label={what === 'client' ? 'Client id' : what === 'topic' ? 'Topic filter' : 'Address or network'}><input required value={value} onInput={(e) => setValue(e.currentTarget.value)} spellcheck={false} placeholder={what === 'topic' ? 'shop/012/#' : what === 'address' ? '10.1.0.0/16' : ''} /></Field>
            <Field label="For"><select value={String(seconds)} onChange={(e) => setSeconds(Number(e.currentTarget.value))}>{[60, 600, 3600].map((s) => <option key={s} value={String(s)}>{span(s)}</option>)}</select></Field>
            <Field label="Payload"><select value={String(bytes)} onChange={(e) => setBytes(Number(e.currentTarget.value))}>{[[0, 'none'], [256, 'first 256 bytes'], [4096, 'first 4 KiB']].map(([b, t]) => <option key={b} value={String(b)}>{t}</option>)}</select></Field>
            <Button type="submit" kind="primary" icon="play" busy={busy}>Start</Button>
          </div>
          {error && <Note tone="bad">{error}</Note>}
          <p class="faint">It sees what comes from now on, ends by itself, and slows nobody: if packets come faster than they can be shown, some are left out and counted. What a client did before is in its page, under “Look back”.</p>
        </form>
      </Card>}
      <Card title="Traces">
        <Read from={traces} what="traces">{(items) => items.length ? (
          <div class="table-scroll" tabIndex={0} role="region" aria-label="Traces, running and ended"><table class="table plain">
            <caption class="sr">Traces</caption>
            <thead><tr><th scope="col">Of</th><th scope="col">Since</th><th scope="col">Until</th><th scope="col">By</th><th scope="col" class="right">Packets</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
            <tbody>{items.map((t) => { const [kind, v] = subject(t); return <tr key={t.id}><td class="wrap"><Badge>{kind}</Badge> <a href={to('trace', [t.id])}>{v}</a></td><td><Ago at={t.began} /></td><td>{t.running === false ? <Badge>ended</Badge> : t.ends ? `in ${span(Math.max(0, (Date.parse(t.ends) - Date.now()) / 1000))}` : '–'}</td><td>{t.by ?? '–'}</td><td class="right">{num(t.packets)}</td><td class="right"><Act small onClick={() => end(t)}>{t.running === false ? 'Delete…' : 'End…'}</Act></td></tr> })}</tbody>
          </table></div>
        ) : <Empty icon="trace" title="There are no traces" />}</Read>
      </Card>
    </div>
  )
}

const most = 2000

function Watch({ id }: { id: string }) {
  const [lines, setLines] = useState<TraceLine[]>([])
  const [paused, setPaused] = useState(false)
  const [text, setText] = useState('')
  const [type, setType] = useState('')
  const [dropped, setDropped] = useState(0)
  const t = useList<Running>('/traces', 5000).data?.find((x) => x.id === id)
  const over = t?.running === false
  const stream = useStream<TraceLine>(`/traces/${seg(id)}/stream`, ['line', 'packet', 'trace', 'message'], (came) => {
    if (paused) { setDropped((n) => n + came.length); return }
    setLines((old) => [...[...came].reverse(), ...old].slice(0, most))
  }, () => { if (!paused) setLines([]) }) // it begins with the first that is kept
  const types = [...new Set(lines.map((l) => l.type))].sort()
  const low = text.toLowerCase()
  const shown = lines.filter((l) => (!type || l.type === type) && (!low || `${l.client} ${l.topic} ${l.type} ${summary(l)}`.toLowerCase().includes(low)))
  const download = (format: string) => `${apiRoot}/traces/${seg(id)}/download?format=${format}`
  return (
    <div class="page full">
      <Head back={{ href: to('trace'), text: 'Trace' }} title={<span class="clip">{t ? subject(t).join(' ') : `Trace ${id}`}</span>} sub={over ? 'ended' : stream.live ? 'live' : 'connecting …'}
        command={[{ path: `/traces/${seg(id)}/stream` }, { what: 'For Wireshark', path: `/traces/${seg(id)}/download?format=pcapng` }]}>
        {!over && <Button icon={paused ? 'play' : 'pause'} onClick={() => { setPaused(!paused); setDropped(0) }}>{paused ? `Go on${dropped ? ` (${num(dropped)} passed)` : ''}` : 'Pause'}</Button>}
        {!over && <Button onClick={() => { setLines([]); toast('The list is empty; the trace goes on') }}>Clear</Button>}
        <a class="button" href={download('jsonl')} download>JSON lines</a>
        <a class="button" href={download('pcapng')} download>pcapng</a>
      </Head>
      <div class="toolbar">
        <input data-filter aria-label="Filter" placeholder="client, topic, text" value={text} onInput={(e) => setText(e.currentTarget.value)} />
        <select aria-label="Packet" value={type} onChange={(e) => setType(e.currentTarget.value)}><option value="">all packets</option>{types.map((x) => <option key={x}>{x}</option>)}</select>
        <span class="faint">{num(shown.length)} of the last {num(lines.length)}</span>
        {stream.lost > 0 && <span class="warn-text">{num(stream.lost)} left out</span>}
      </div>
      {shown.length ? <Lines lines={shown.slice(0, 500)} without={t?.client ? 'client' : undefined} /> : <Empty icon="trace" title={lines.length ? 'None of these matches' : over ? (t?.packets ? 'Reading its packets …' : 'No packet came while it ran') : 'Waiting for packets'} />}
    </div>
  )
}
