// Rules, and what they come to for somebody in particular.
import { useState } from 'preact/hooks'
import { call, can, post, seg, useList } from '../api'
import { cli } from '../format'
import { requery, route } from '../route'
import type { Explained, Rule } from '../types'
import { Badge, Button, Card, Empty, Field, Note, Read } from '../ui/basics'
import { type Command, Commands } from '../ui/copyas'
import { ask, Dialog, toast } from '../ui/dialog'
import { Icon } from '../ui/icons'

const whom = (r: Rule) => [
  ...(r.users ?? []).map((u) => `user ${u}`), ...(r.groups ?? []).map((g) => `group ${g}`), ...(r.clients ?? []).map((c) => `client ${c}`), ...(r.listeners ?? []).map((l) => `listener ${l}`),
  ...(r.addresses ?? []).map((a) => `address ${a}`), ...(r.common_names ?? []).map((c) => `certificate ${c}`), ...(r.claims ?? []).map((c) => `claim ${c}`),
]

export function Rules() {
  const rules = useList<Rule>('/rules')
  const [adding, setAdding] = useState(false)
  const remove = (r: Rule) => ask({
    title: `Delete rule ${r.name || r.id}`, confirm: 'Delete', danger: true, done: rules.reload,
    effect: <p>It stops at once, for those connected too: {r.deny?.length ? 'what it denied may be allowed by another rule.' : 'subscriptions that only it allowed rest, and publishes that only it allowed are denied.'}</p>,
    command: () => ({ method: 'DELETE', path: `/rules/${seg(r.id)}`, cli: cli('rules delete', [r.id]) }),
    run: async () => { await call('DELETE', `/rules/${seg(r.id)}`); return 'The rule is deleted' },
  })
  return (
    <>
      <div class="toolbar"><p class="faint grow">The highest priority decides; of the same priority, a denial. What no rule allows is denied. Rules of files stand in the configuration.</p>{can('admin') && <Button icon="plus" kind="primary" onClick={() => setAdding(true)}>Rule</Button>}</div>
      <Read from={rules} what="rules">{(all) => all.length === 0 ? <Empty icon="security" title="No rule is stored" /> : (
        <div class="table-scroll" tabIndex={0} role="region" aria-label="Rules"><table class="table plain">
          <caption class="sr">Rules</caption>
          <thead><tr><th scope="col">Rule</th><th scope="col">Whom</th><th scope="col">What</th><th scope="col">Topics</th><th scope="col" class="right">Priority</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
          <tbody>{[...all].sort((a, b) => (b.priority ?? 0) - (a.priority ?? 0)).map((r) => (
            <tr key={r.id}>
              <td><span class="strong">{r.name || r.id}</span>{r.note && <div class="faint">{r.note}</div>}</td>
              <td>{whom(r).join(', ') || 'everybody'}</td>
              <td>{r.deny?.length ? <><Badge tone="bad">deny</Badge> {r.deny.join(', ')}</> : <><Badge tone="ok">allow</Badge> {r.allow?.join(', ')}</>}{r.retain && r.retain !== 'any' ? <span class="faint"> retained {r.retain}</span> : ''}{r.qos?.length ? <span class="faint"> QoS {r.qos.join(', ')}</span> : ''}</td>
              <td class="mono wrap">{r.topics.map((t) => <div key={t}>{t}</div>)}</td>
              <td class="right">{r.priority ?? 0}</td>
              <td class="right">{can('admin') && <Button small kind="ghost" icon="trash" aria-label={`Delete rule ${r.name || r.id}`} onClick={() => remove(r)} />}</td>
            </tr>
          ))}</tbody>
        </table></div>
      )}</Read>
      {adding && <AddRule close={() => setAdding(false)} done={rules.reload} />}
    </>
  )
}

const actions = ['publish', 'subscribe', 'receive', 'retain'] as const

function AddRule({ close, done }: { close: () => void; done: () => void }) {
  const [f, set] = useState({ name: '', priority: '0', topics: '', groups: '', users: '', clients: '', effect: 'allow', note: '' })
  const [what, setWhat] = useState<string[]>(['publish', 'subscribe', 'receive'])
  const [error, setError] = useState('')
  const list = (s: string) => s.split(/[\s,]+/).filter(Boolean)
  const input = (k: keyof typeof f, more: Record<string, unknown> = {}) => <input value={f[k]} onInput={(e) => set({ ...f, [k]: e.currentTarget.value })} spellcheck={false} {...more} />
  const some = (k: 'groups' | 'users' | 'clients') => (list(f[k]).length ? { [k]: list(f[k]) } : {})
  const body = { ...(f.name ? { name: f.name } : {}), ...(f.note ? { note: f.note } : {}), priority: Number(f.priority) || 0, topics: list(f.topics), [f.effect]: what, ...some('groups'), ...some('users'), ...some('clients') }
  const submit = async (e: Event) => {
    e.preventDefault()
    try { await post('/rules', body); close(); done(); toast('The rule holds') } catch (e) { setError((e as Error).message) }
  }
  return (
    <Dialog title="A new rule" close={close}>
      <form class="form" onSubmit={submit}>
        <div class="form-row"><Field label="Name">{input('name')}</Field><Field label="Priority">{input('priority', { type: 'number' })}</Field></div>
        <div class="form-row"><Field label="It"><select value={f.effect} onChange={(e) => set({ ...f, effect: e.currentTarget.value })}><option value="allow">allows</option><option value="deny">denies</option></select></Field></div>
        <div class="chips">{actions.map((a) => <button type="button" key={a} class={what.includes(a) ? 'chip on' : 'chip'} aria-pressed={what.includes(a)} onClick={() => setWhat(what.includes(a) ? what.filter((x) => x !== a) : [...what, a])}>{a}</button>)}</div>
        <Field label="Topic filters" hint="{client}, {user}, {cn} and {group} stand for the client's own.">{input('topics', { required: true, placeholder: 'shop/{user}/#' })}</Field>
        <div class="form-row"><Field label="Groups">{input('groups')}</Field><Field label="Users">{input('users')}</Field><Field label="Client ids">{input('clients')}</Field></div>
        <Field label="Note">{input('note')}</Field>
        {(!list(f.groups).length && !list(f.users).length && !list(f.clients).length) && <Note tone="warn">It is about everybody.</Note>}
        <p>It holds at once, for those connected too.</p>
        <details class="same"><summary>The same on the command line</summary><Commands commands={[{ method: 'POST', path: '/rules', body }]} /></details>
        {error && <p class="bad-text" role="alert">{error}</p>}
        <footer class="dialog-foot"><Button onClick={close}>Cancel</Button><Button type="submit" kind="primary" disabled={!what.length}>Create</Button></footer>
      </form>
    </Dialog>
  )
}

const asked = ['client', 'user', 'groups', 'address', 'action', 'topic'] as const

type Asked = Record<typeof asked[number], string>

const questionOf = (q: URLSearchParams) => ({ ...Object.fromEntries(asked.map((k) => [k, q.get(k) ?? ''])), action: q.get('action') ?? 'publish' }) as Asked

/** The question on a command line; without one, as it would be. */
export function explanation(q: URLSearchParams): Command {
  const f = questionOf(q)
  return command(f.topic ? f : { ...f, client: f.client || 'CLIENT', topic: 'TOPIC' })
}

function command(f: Asked): Command {
  const groups = f.groups.split(/[\s,]+/).filter(Boolean)
  const body = { action: f.action, topic: f.topic, ...(f.client ? { client: f.client } : {}), ...(f.user ? { user: f.user } : {}), ...(groups.length ? { groups } : {}), ...(f.address ? { address: f.address } : {}) }
  return { method: 'POST', path: '/acl/explain', body, cli: cli('acl explain', [f.client || 'anybody', f.topic], { action: f.action, 'as-user': f.user, group: f.groups, address: f.address }) }
}

export function Explain() {
  const [f, set] = useState(() => questionOf(route.value.query))
  const [answer, setAnswer] = useState<Explained>()
  const [error, setError] = useState('')
  const submit = async (e: Event) => {
    e.preventDefault()
    setError('')
    requery({ ...f, action: f.action === 'publish' ? undefined : f.action })
    try { setAnswer(await post<Explained>('/acl/explain', command(f).body)) } catch (e) { setAnswer(undefined); setError((e as Error).message) }
  }
  const input = (k: keyof typeof f, more: Record<string, unknown> = {}) => <input value={f[k]} onInput={(e) => set({ ...f, [k]: e.currentTarget.value })} spellcheck={false} {...more} />
  return (
    <div class="columns">
      <Card title="May it?">
        <form class="form" onSubmit={submit}>
          <div class="form-row"><Field label="Client id">{input('client')}</Field><Field label="User">{input('user', { placeholder: 'as the broker knows it' })}</Field></div>
          <div class="form-row"><Field label="Groups">{input('groups')}</Field><Field label="Address">{input('address')}</Field></div>
          <div class="form-row"><Field label="Action"><select value={f.action} onChange={(e) => set({ ...f, action: e.currentTarget.value })}>{actions.map((a) => <option key={a} value={a}>{a === 'retain' ? 'publish retained' : a}</option>)}</select></Field><Field label="Topic">{input('topic', { required: true, placeholder: 'shop/012/state' })}</Field></div>
          <div class="form-foot"><Button type="submit" kind="primary">Explain</Button></div>
        </form>
      </Card>
      <Card title="The answer">
        {error ? <Note tone="bad">{error}</Note> : answer ? (
          <div class="form">
            <div class={answer.allowed ? 'answer ok' : 'answer bad'} role="status"><Icon name={answer.allowed ? 'ok' : 'bad'} size={22} /><div><p class="answer-word">{answer.allowed ? 'Allowed' : 'Denied'}</p><p>{answer.why}</p></div></div>
            <p class="faint">Asked about {answer.client.client_id || 'any client id'}{answer.client.user ? `, user ${answer.client.user}` : ', anonymous'}{answer.client.groups?.length ? `, in ${answer.client.groups.join(', ')}` : ''}{answer.client.known ? ', as the broker knows it' : ''}.</p>
          </div>
        ) : <p class="faint">Which rule decides, and why, as the broker itself would find.</p>}
      </Card>
    </div>
  )
}
