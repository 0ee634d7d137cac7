// Who may use this console and the API, and what they did.
import { useState } from 'preact/hooks'
import { call, can, me, path, post, Problem, seg, useList, whoAmI } from '../api'
import { cli } from '../format'
import { requery, route, to } from '../route'
import type { AuditEntry, Key, Operator, Role } from '../types'
import { Ago, At, Badge, Button, Empty, Facts, Field, Note, Read } from '../ui/basics'
import type { Command } from '../ui/copyas'
import { Diff } from '../ui/payload'
import { ask, Dialog } from '../ui/dialog'
import { type Column, usePager, VirtualTable } from '../ui/virtual'
import { showSecret } from './users'

/** Who changes operators or keys gives the password again, since the page may have been left open. */
function useAgain() {
  const [password, set] = useState('')
  const needed = me.value?.confirm_needed ?? false
  const field = needed ? <Field label="Your own password, once more"><input type="password" required autocomplete="current-password" value={password} onInput={(e) => set(e.currentTarget.value)} /></Field> : null
  return { field, confirm: async () => { if (needed) { await post('/me/confirm', { password }); await whoAmI() } } }
}

/** The same within a question. */
function Again({ change }: { change: (v: string) => void }) {
  return me.value?.confirm_needed ? <Field label="Your own password, once more"><input type="password" autocomplete="current-password" onInput={(e) => change(e.currentTarget.value)} /></Field> : null
}

function removal(kind: 'operators' | 'keys', name: string, effect: string, done: () => void) {
  let password = ''
  ask({
    title: `Delete ${name}`, confirm: 'Delete', danger: true, done, effect: <><p>{effect}</p><Again change={(v) => { password = v }} /></>,
    command: () => ({ method: 'DELETE', path: `/${kind}/${seg(name)}`, people: true, cli: cli(`${kind} ${kind === 'keys' ? 'revoke' : 'delete'}`, [name]) }),
    run: async () => {
      if (me.value?.confirm_needed) { await post('/me/confirm', { password }); await whoAmI() }
      await call('DELETE', `/${kind}/${seg(name)}`)
      return `${name} is deleted`
    },
  })
}

export function Operators() {
  const all = useList<Operator>('/operators')
  const [adding, setAdding] = useState(false)
  return (
    <>
      <div class="toolbar"><p class="faint grow">People who use this console. Viewers read; operators act on clients and messages; admins do everything.</p>{can('admin') && <Button icon="plus" kind="primary" onClick={() => setAdding(true)}>Operator</Button>}</div>
      <Read from={all} what="operators">{(p) => (
        <div class="table-scroll" tabIndex={0} role="region" aria-label="Operators"><table class="table plain">
          <caption class="sr">Operators</caption>
          <thead><tr><th scope="col">Name</th><th scope="col">Role</th><th scope="col">Made</th><th scope="col">Logged in</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
          <tbody>{p.map((o) => <tr key={o.name}><td class="strong">{o.name} {o.disabled && <Badge tone="warn">disabled</Badge>}</td><td><Badge tone={o.role === 'admin' ? 'accent' : 'calm'}>{o.role}</Badge></td><td><Ago at={o.created} /></td><td>{o.sessions ? (o.sessions === 1 ? 'once' : `${o.sessions} times`) : <span class="faint">no</span>}{o.password_change_needed && <> <Badge title="At the first login it chooses a password of its own">first password</Badge></>}</td>
            <td class="right">{can('admin') && o.name !== me.value?.user && <Button small kind="ghost" icon="trash" aria-label={`Delete ${o.name}`} onClick={() => removal('operators', o.name, 'Its sessions end at once.', all.reload)} />}</td></tr>)}</tbody>
        </table></div>
      )}</Read>
      {adding && <AddOperator close={() => setAdding(false)} done={all.reload} />}
    </>
  )
}

function AddOperator({ close, done }: { close: () => void; done: () => void }) {
  const [name, setName] = useState('')
  const [role, setRole] = useState<Role>('viewer')
  const [error, setError] = useState('')
  const again = useAgain()
  const submit = async (e: Event) => {
    e.preventDefault()
    try {
      await again.confirm()
      const r = await post<{ secret?: string; password?: string }>('/operators', { name, role, generate: true })
      close()
      done()
      showSecret(name, r.secret ?? r.password)
    } catch (e) { setError((e as Problem).message) }
  }
  return (
    <Dialog title="A new operator" close={close}>
      <form class="form" onSubmit={submit}>
        <div class="form-row"><Field label="Name"><input required value={name} onInput={(e) => setName(e.currentTarget.value)} autocapitalize="none" spellcheck={false} /></Field><Field label="Role"><select value={role} onChange={(e) => setRole(e.currentTarget.value as Role)}><option value="viewer">viewer: reads</option><option value="operator">operator: acts on clients and messages</option><option value="admin">admin: everything</option></select></Field></div>
        <p class="faint">A random password for the first login is made and shown once.</p>
        {again.field}
        {error && <Note tone="bad">{error}</Note>}
        <footer class="dialog-foot"><Button onClick={close}>Cancel</Button><Button type="submit" kind="primary">Create</Button></footer>
      </form>
    </Dialog>
  )
}

interface AnyKey extends Key { begins?: string; last_used?: string; disabled?: boolean; note?: string }

export function Keys() {
  const all = useList<AnyKey>('/keys')
  const [adding, setAdding] = useState(false)
  return (
    <>
      <div class="toolbar"><p class="faint grow">Keys for programs that use the API, each with what it may do.</p>{can('admin') && <Button icon="plus" kind="primary" onClick={() => setAdding(true)}>Key</Button>}</div>
      <Read from={all} what="keys">{(p) => p.length === 0 ? <Empty icon="security" title="There are no keys" /> : (
        <div class="table-scroll" tabIndex={0} role="region" aria-label="API keys"><table class="table plain">
          <caption class="sr">API keys</caption>
          <thead><tr><th scope="col">Name</th><th scope="col">Begins</th><th scope="col">May</th><th scope="col">Made by</th><th scope="col">Last used</th><th scope="col">Ends</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
          <tbody>{p.map((k) => <tr key={k.name ?? k.id}><td class="strong">{k.name ?? k.id} {k.disabled && <Badge tone="warn">disabled</Badge>}{k.note && <div class="faint">{k.note}</div>}</td><td class="mono">{k.begins ?? ''}</td><td>{k.scopes?.map((s) => <span key={s}><Badge>{s}</Badge> </span>)}</td><td>{k.by}</td><td>{k.last_used ?? k.used ? <Ago at={k.last_used ?? k.used} /> : <span class="faint">never</span>}</td><td>{k.expires ? k.expires.slice(0, 10) : <span class="faint">never</span>}</td>
            <td class="right">{can('admin') && <Button small kind="ghost" icon="trash" aria-label={`Delete key ${k.name}`} onClick={() => removal('keys', k.name ?? k.id, 'Programs that use it are refused from now on.', all.reload)} />}</td></tr>)}</tbody>
        </table></div>
      )}</Read>
      {adding && <AddKey close={() => setAdding(false)} done={all.reload} />}
    </>
  )
}

function AddKey({ close, done }: { close: () => void; done: () => void }) {
  const [name, setName] = useState('')
  const [scopes, setScopes] = useState('read')
  const [days, setDays] = useState('90')
  const [error, setError] = useState('')
  const again = useAgain()
  const submit = async (e: Event) => {
    e.preventDefault()
    try {
      await again.confirm()
      const k = await post<AnyKey>('/keys', { name, scopes: scopes.split(/[\s,]+/).filter(Boolean), ...(Number(days) ? { expires: new Date(Date.now() + Number(days) * 86400e3).toISOString() } : {}) })
      close()
      done()
      showSecret(name, k.key ?? k.secret)
    } catch (e) { setError((e as Problem).message) }
  }
  return (
    <Dialog title="A new API key" close={close}>
      <form class="form" onSubmit={submit}>
        <Field label="Name"><input required value={name} onInput={(e) => setName(e.currentTarget.value)} spellcheck={false} /></Field>
        <Field label="What it may do" hint="read, operate or admin; or one of them for one resource, as in events:read"><input required value={scopes} onInput={(e) => setScopes(e.currentTarget.value)} spellcheck={false} /></Field>
        <Field label="Ends"><select value={days} onChange={(e) => setDays(e.currentTarget.value)}><option value="30">in 30 days</option><option value="90">in 90 days</option><option value="365">in a year</option><option value="0">never</option></select></Field>
        <p class="faint">The key is shown once.</p>
        {again.field}
        {error && <Note tone="bad">{error}</Note>}
        <footer class="dialog-foot"><Button onClick={close}>Cancel</Button><Button type="submit" kind="primary">Create</Button></footer>
      </form>
    </Dialog>
  )
}

interface Entry extends AuditEntry { operation?: string; target?: string; outcome?: string; asked?: unknown; more?: number; kind?: string }

const text = (v: unknown) => JSON.stringify(v, null, 2)

const narrowing = ['by', 'operation', 'outcome', 'target'] as const

const narrowed = (q: URLSearchParams) => Object.fromEntries(narrowing.map((k) => [k, q.get(k) ?? '']))

/** What the page shows, on a command line. */
export const audited = (q: URLSearchParams): Command => ({ path: path('/audit', narrowed(q)), cli: cli('audit', [], narrowed(q)) })

function Narrow() {
  const q = narrowed(route.value.query)
  const field = (k: typeof narrowing[number], label: string, placeholder: string) => <input aria-label={label} placeholder={placeholder} value={q[k]} onChange={(e) => requery({ [k]: e.currentTarget.value.trim() })} spellcheck={false} autocapitalize="none" />
  return (
    <div class="toolbar">
      {field('by', 'Who', 'who')}
      {field('operation', 'Operation', 'operation')}
      {field('target', 'Of what', 'of what')}
      <select aria-label="Outcome" value={q['outcome']} onChange={(e) => requery({ outcome: e.currentTarget.value })}><option value="">any outcome</option>{['done', 'refused', 'failed'].map((o) => <option key={o} value={o}>{o}</option>)}</select>
      {narrowing.some((k) => q[k]) && <a href={to('security', ['audit'])}>All</a>}
    </div>
  )
}

export function Audit() {
  const pager = usePager<Entry>('/audit', narrowed(route.value.query), 10_000)
  const [open, setOpen] = useState<Entry>()
  const columns: Column<Entry>[] = [
    { id: 'at', title: 'Time', width: '142px', from: 460, render: (e) => <At at={e.at} /> },
    { id: 'ago', title: 'Time', width: '74px', below: 460, render: (e) => <Ago at={e.at} brief /> },
    { id: 'who', title: 'Who', width: '16%', render: (e) => <>{e.by ?? e.who ?? e.user ?? <span class="faint">{e.kind ?? 'nobody'}</span>}</> },
    { id: 'what', title: 'What', width: '22%', render: (e) => <span class="strong clip" title={e.operation ?? e.action ?? e.what}>{e.operation ?? e.action ?? e.what}</span> },
    { id: 'object', title: 'Of what', from: 560, render: (e) => <span class="mono" title={e.target ?? e.object}>{e.target ?? e.object}</span> },
    { id: 'from', title: 'From', width: '140px', from: 760, render: (e) => <span class="mono">{e.from ?? e.address}</span> },
    { id: 'status', title: 'Outcome', width: '96px', right: true, render: (e) => { const ok = e.outcome ? e.outcome === 'done' : (e.status ?? 200) < 400; return <Badge tone={ok ? 'ok' : 'bad'}>{e.outcome ?? e.status}</Badge> } },
  ]
  return (
    <div class="audit">
      <Narrow />
      <VirtualTable pager={pager} columns={columns} label="Audit log" what="changes" rowKey={(e) => String(e.id ?? e.at)} onPick={setOpen} empty={<Empty title={Object.values(narrowed(route.value.query)).some(Boolean) ? 'No entry matches' : 'Nothing was changed yet'} />} />
      {open && <Dialog wide title={<>{open.operation ?? open.action} <span class="faint">{open.target ?? open.object}</span></>} close={() => setOpen(undefined)}>
        <Facts rows={[['Time', open.at], ['Who', open.by ?? open.who ?? open.kind ?? '–'], ['From', open.from ?? open.address ?? '–'], ['Outcome', `${open.outcome ?? ''} ${open.status ?? ''}`], !!open.more && ['More of the same', open.more]]} />
        {open.asked !== undefined && <><h3>What was sent</h3><pre class="payload-text diff" tabIndex={0}>{text(open.asked)}</pre></>}
        {(open.before !== undefined || open.after !== undefined) && <><h3>Before and after</h3><Diff from={{ size: 0, encoding: 'text', text: open.before === undefined ? '' : text(open.before) }} to={{ size: 0, encoding: 'text', text: open.after === undefined ? '' : text(open.after) }} /></>}
      </Dialog>}
    </div>
  )
}

