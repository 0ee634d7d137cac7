// One topic: its last message and those before it that were seen here, who gets them, and how much flows.
import { useEffect, useState } from 'preact/hooks'
import { can, path, post, useLoad } from '../api'
import { below, bytes, clock, cli, num, rate, term, time, words } from '../format'
import { to } from '../route'
import type { Page, Payload, Retained, Topic, TopicDetail } from '../types'
import { Ago, Badge, Button, Card, Empty, Facts, Failure, Field, Figure, Loading } from '../ui/basics'
import { ask } from '../ui/dialog'
import { Diff, PayloadView, pretty } from '../ui/payload'
import { AskAbout } from './ask'

interface Version { at: string; publisher?: string; payload: Payload }

const kept = 50

export function TopicView({ topic, close }: { topic: string; close: () => void }) {
  // The first level of /a has no name, and is no topic that anything could be published to.
  const detail = useLoad<TopicDetail>(topic === '' ? null : path('/topics/detail', { topic }), 1500)
  const own = (detail.data?.messages ?? 0) > 0 || !!detail.data?.retained
  const branch = useBranch(topic, topic === '' || detail.error?.status === 404 || (!!detail.data && !own))
  const [seen, setSeen] = useState<Version[]>([])
  const [at, setAt] = useState<string | null>(null)
  const [against, setAgainst] = useState(false)
  const d: TopicDetail | undefined = own ? detail.data : branch ? { ...detail.data, ...branch } : detail.data
  // Of a topic that was not published to since the start there is the retained message alone.
  const held = useLoad<Retained>(own && d?.retained && !d.last ? path('/retained/message', { topic }) : null).data
  const last = d?.last ?? (held && { ...held, retain: true })
  useEffect(() => {
    if (!d?.payload || !(d.last ?? held)) return
    const { at, publisher } = d.last ?? { at: held!.at ?? '', publisher: held!.publisher }
    const next = { at, ...(publisher ? { publisher } : {}), payload: d.payload }
    setSeen((old) => (old[0]?.at === next.at && old[0].payload.text === next.payload.text ? old : [next, ...old].slice(0, kept)))
  }, [d, held])
  const index = at === null ? 0 : Math.max(0, seen.findIndex((v) => v.at === at))
  const shown = seen[index]
  const before = seen[index + 1]
  return (
    <div class="pane" aria-label="Topic">
      <Card title={<Crumbs topic={topic} />} extra={<>{topic !== '' && <PublishButton topic={topic} payload={shown?.payload} />}<Button kind="ghost" small icon="close" aria-label="Close" onClick={close} /></>}>
        {!d ? (detail.error ? (detail.error.status === 404 ? <Empty icon="topics" title="Nothing was published here" /> : <Failure error={detail.error} what="this topic" retry={detail.reload} />) : <Loading />) : (
          <div class="form">
            {shown ? <>
              <div class="toolbar">
                <p class="grow"><Ago at={shown.at} past /> {shown.publisher && <>by <a href={to('clients', [shown.publisher])}>{shown.publisher}</a></>} {last?.qos !== undefined && index === 0 && <Badge>QoS {last.qos}</Badge>} {last?.retain && index === 0 && <Badge tone="accent">retained</Badge>}</p>
                {before && <label class="check"><input type="checkbox" checked={against} onChange={(e) => setAgainst(e.currentTarget.checked)} /> what changed</label>}
              </div>
              {against && before ? <Diff from={before.payload} to={shown.payload} /> : <PayloadView payload={shown.payload} />}
            </> : <p class="faint">{d.branch ? 'A branch: nothing was published to exactly this topic. The figures are sums of all that is below.' : 'Its last message is not kept.'}</p>}
            {seen.length > 1 && <details open={at !== null}><summary>{seen.length} messages seen since this was opened</summary>
              <div class="versions">{seen.map((v) => <button key={v.at} aria-pressed={v === shown} onClick={() => setAt(v === seen[0] ? null : v.at)}><span class="mono">{clock(time(v.at) ?? new Date(), true)}</span><span class="faint">{bytes(v.payload.size)}</span><span class="clip mono">{v.payload.text.slice(0, 120)}</span></button>)}</div>
            </details>}
          </div>
        )}
      </Card>
      {d && <>
        <div class="figures">
          <Figure name="Rate" value={<>{rate(d.rate)}<small>/s</small></>} sub={<>15 min: {rate(d.rate15)}</>} />
          <Figure name="Messages" value={num(d.messages)} sub={bytes(d.bytes)} href={own ? to('trace', [], { topic }) : to('topics', ['search'], { filter: below(topic), sort: '-messages' })} />
          <Figure name="Copies" value={num(d.copies)} sub={d.messages ? `${rate((d.copies ?? 0) / d.messages)} of each` : undefined} href={own ? to('ask', [], { topic }) : to('topics', ['search'], { filter: below(topic), sort: '-copies' })} />
          <Figure name="Dropped" value={num(d.dropped)} sub={<>{num(d.denied)} denied</>} tone={d.dropped ? 'bad' : undefined} href={to('events', [], { topic, kind: 'dropped' })} />
        </div>
        <Card title="Who gets it" extra={<><a href={to('ask', [], { topic })}>How each would</a><a href={to('events', [], { topic })}>Events</a></>}>
          {d.subscribers?.length ? <ul class="subs">{d.subscribers.slice(0, 100).map((s) => <li key={s.client + s.filter}><a href={to('clients', [s.client])}>{s.client}</a><code>{s.filter}</code>{s.group && <Badge tone="accent">shared by {s.group}</Badge>}<Badge>QoS {s.qos}</Badge></li>)}{d.subscribers.length > 100 && <li class="faint">and {num(d.subscribers.length - 100)} more</li>}</ul> : <p class="faint">Nobody subscribes to it.</p>}
          {own && <AskAbout topic={topic} />}
        </Card>
        <Card title="Figures">
          <Facts rows={[
            d.qos && ['QoS 0, 1, 2', d.qos.map(num).join(' · ')], ['Rate 1, 5, 15 min', [d.rate1, d.rate5, d.rate15].map(rate).join(' · ')], ['Largest', bytes(d.max_size)], ['Unheard', d.unheard ? <a href={to('topics', ['unheard'])}>{num(d.unheard)}</a> : num(d.unheard)],
            d.branch && ['Topics below', num(d.topics)],
            ...Object.entries(d.dropped_by ?? {}).map(([k, n]) => [<>Dropped: {words(k)}</>, num(n)] as const), ...Object.entries(d.denied_by ?? {}).map(([k, n]) => [<>Denied: {words(k)}</>, num(n)] as const),
          ]} />
        </Card>
      </>}
    </div>
  )
}

/** What is known of a topic as a branch: the sums of all that is below. */
function useBranch(topic: string, wanted: boolean): Topic | undefined {
  const cut = topic.lastIndexOf('/')
  const where = path('/topics/tree', { filter: topic === '' ? '' : `topic:${term(topic)}`, limit: topic === '' ? 1000 : 1 }) + (cut < 0 ? '' : `&branch=${encodeURIComponent(topic.slice(0, cut))}`)
  const row = useLoad<Page<Topic>>(wanted ? where : null, 2000).data?.items?.find((t) => t.topic === topic)
  return row?.branch ? row : undefined
}

function Crumbs({ topic }: { topic: string }) {
  const levels = topic.split('/')
  return <span class="crumbs">{levels.map((l, i) => <span key={i}>{i > 0 && <i>/</i>}{i < levels.length - 1 ? <a href={to('topics', [], { topic: levels.slice(0, i + 1).join('/') })}>{l}</a> : l}</span>)}</span>
}

function PublishButton({ topic, payload }: { topic: string; payload: Payload | undefined }) {
  if (!can('operator')) return null
  const open = () => {
    const message = { topic, payload: payload && payload.encoding !== 'hex' && !payload.truncated ? pretty(payload) : '', qos: 0, retain: false }
    ask({
      title: 'Publish a message', confirm: 'Publish',
      effect: <div class="form">
        <Field label="Topic" wide><input value={message.topic} onInput={(e) => { message.topic = e.currentTarget.value }} /></Field>
        <Field label="Payload" wide><textarea rows={7} defaultValue={message.payload} onInput={(e) => { message.payload = e.currentTarget.value }} /></Field>
        <div class="form-row">
          <Field label="QoS"><select onChange={(e) => { message.qos = Number(e.currentTarget.value) }}><option>0</option><option>1</option><option>2</option></select></Field>
          <label class="check"><input type="checkbox" onChange={(e) => { message.retain = e.currentTarget.checked }} /> retain it</label>
        </div>
        <p class="faint">Everybody who subscribes to the topic gets it, as from any client. It cannot be taken back.</p>
      </div>,
      command: () => ({ method: 'POST', path: '/publish', body: { ...message, encoding: 'text' }, cli: cli('pub', [], { topic: message.topic, message: message.payload, qos: message.qos, retain: message.retain }) }),
      run: async () => { const r = await post<{ reason?: string; code?: number }>('/publish', { ...message, encoding: 'text' }); return `Published${r?.reason ? ': ' + words(r.reason) : ''}` },
    })
  }
  return <Button small icon="arrow" onClick={open}>Publish</Button>
}
