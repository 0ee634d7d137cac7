// The users that clients connect as.
import { useEffect, useRef, useState } from 'preact/hooks'
import { call, can, get, path, post, Problem, seg } from '../api'
import { cli, term } from '../format'
import { requery, route, to } from '../route'
import type { User } from '../types'
import { Ago, Badge, Button, Empty, Failure, Field, Loading } from '../ui/basics'
import { copy } from '../ui/copyas'
import { ask, Dialog, toast } from '../ui/dialog'
import { Filter } from '../ui/filter'

export function Users() {
  const q = route.value.query
  const prefix = q.get('prefix') ?? '', group = q.get('group') ?? ''
  const [users, setUsers] = useState<User[]>()
  const [next, setNext] = useState<string>()
  const [error, setError] = useState<Problem>()
  const [adding, setAdding] = useState(false)
  const [round, again] = useState(0)
  const reload = () => again((n) => n + 1)
  const latest = useRef(0)
  const read = async (after?: string) => {
    const turn = ++latest.current
    try {
      const p = await get<{ users: User[] | null; next?: string }>(path('/users', { prefix, group, after, limit: 100 }))
      if (turn !== latest.current) return
      setUsers((old) => (after ? [...(old ?? []), ...(p.users ?? [])] : (p.users ?? [])))
      setNext(p.next)
      setError(undefined)
    } catch (e) { if (turn === latest.current) setError(e as Problem) }
  }
  useEffect(() => { void read() }, [prefix, group, round])
  const remove = (u: User) => ask({
    title: `Delete user ${u.name}`, confirm: 'Delete', danger: true, done: reload, effect: <p>Clients that are connected as {u.name} are disconnected, and none can connect as it again. Rules that name it stay.</p>,
    command: () => ({ method: 'DELETE', path: `/users/${seg(u.name)}`, cli: cli('users delete', [u.name]) }),
    run: async () => { await call('DELETE', `/users/${seg(u.name)}`); return `${u.name} is deleted` },
  })
  const able = (u: User) => ask({
    title: `${u.disabled ? 'Enable' : 'Disable'} user ${u.name}`, confirm: u.disabled ? 'Enable' : 'Disable', danger: !u.disabled, done: reload,
    effect: <p>{u.disabled ? 'Clients can connect as it again.' : 'Its clients are disconnected now and refused until it is enabled. Nothing is deleted.'}</p>,
    command: () => ({ method: 'PATCH', path: `/users/${seg(u.name)}`, body: { disabled: !u.disabled }, cli: cli('users set', [u.name], { [u.disabled ? 'no-disabled' : 'disabled']: true }) }),
    run: async () => { await call('PATCH', `/users/${seg(u.name)}`, { disabled: !u.disabled }); return `${u.name} is ${u.disabled ? 'enabled' : 'disabled'}` },
  })
  const fresh = (u: User) => ask({
    title: `A new password for ${u.name}`, confirm: 'Make one', danger: true, done: reload, effect: <p>A random password is made and shown once. The old one ends, and clients that are connected as {u.name} are disconnected.</p>,
    command: () => ({ method: 'PATCH', path: `/users/${seg(u.name)}`, body: { generate: true }, cli: cli('users password', [u.name], { generate: true }) }),
    run: async () => { const r = await call<User>('PATCH', `/users/${seg(u.name)}`, { generate: true }); showSecret(u.name, r.secret) },
  })
  return (
    <>
      <div class="toolbar">
        <Filter value={prefix} onChange={(v) => requery({ prefix: v })} label="Names that begin with" placeholder="names that begin with …" />
        {group && <button class="chip on" onClick={() => requery({ group: undefined })}>group {group} ×</button>}
        <span class="grow" />
        {can('admin') && <Button icon="plus" kind="primary" onClick={() => setAdding(true)}>User</Button>}
      </div>
      {error ? <Failure error={error} what="users" retry={reload} /> : !users ? <Loading rows={8} /> : users.length === 0 ? <Empty icon="user" title={prefix || group ? 'No user matches' : 'There are no users'} /> : (
        <div class="table-scroll" tabIndex={0} role="region" aria-label="Users"><table class="table plain">
          <caption class="sr">Users</caption>
          <thead><tr><th scope="col">Name</th><th scope="col">Groups</th><th scope="col">Client ids</th><th scope="col">State</th><th scope="col">Changed</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
          <tbody>{users.map((u) => (
            <tr key={u.name}>
              <td><a class="strong" href={to('clients', [], { filter: `user:${term(u.name)}` })} title="Its clients">{u.name}</a>{u.note && <div class="faint">{u.note}</div>}</td>
              <td>{u.groups?.map((g) => <span key={g}><a href={to('security', ['users'], { group: g })}>{g}</a> </span>)}</td>
              <td class="mono">{u.client_id || <span class="faint">any</span>}</td>
              <td>{u.disabled ? <Badge tone="warn">disabled</Badge> : u.has_password ? <Badge tone="ok">enabled</Badge> : <Badge title="Nobody gets in as it by a password">no password</Badge>}</td>
              <td><Ago at={u.changed} /></td>
              <td class="right">{can('admin') && <span class="row-acts"><Button small kind="ghost" onClick={() => able(u)}>{u.disabled ? 'Enable' : 'Disable'}</Button><Button small kind="ghost" onClick={() => fresh(u)}>New password</Button><Button small kind="ghost" icon="trash" aria-label={`Delete ${u.name}`} onClick={() => remove(u)} /></span>}</td>
            </tr>
          ))}</tbody>
        </table></div>
      )}
      {next && <p><Button onClick={() => void read(next)}>More</Button></p>}
      {adding && <AddUser close={() => setAdding(false)} done={reload} />}
    </>
  )
}

/** A secret that the server tells this one time. */
export function showSecret(name: string, secret: string | undefined) {
  if (!secret) return
  ask({ title: `The secret of ${name}`, confirm: 'Copy and close', effect: <><p>It is shown this one time; the server keeps only its hash.</p><div class="secret">{secret}</div></>, run: async () => { await copy(secret, 'Copied'); return undefined } })
}

function AddUser({ close, done }: { close: () => void; done: () => void }) {
  const [f, set] = useState({ name: '', kind: 'device', groups: '', client_id: '', note: '', password: '' })
  const [error, setError] = useState('')
  const [busy, setBusy] = useState(false)
  const input = (k: keyof typeof f, more: Record<string, unknown> = {}) => <input value={f[k]} onInput={(e) => set({ ...f, [k]: e.currentTarget.value })} spellcheck={false} {...more} />
  const submit = async (e: Event) => {
    e.preventDefault()
    setBusy(true)
    try {
      const groups = f.groups.split(/[\s,]+/).filter(Boolean)
      const made = await post<User>('/users', { name: f.name, kind: f.kind, ...(groups.length ? { groups } : {}), ...(f.client_id ? { client_id: f.client_id } : {}), ...(f.note ? { note: f.note } : {}), ...(f.password ? { password: f.password } : { generate: true }) })
      close()
      done()
      if (made.secret) showSecret(f.name, made.secret)
      else toast(`User ${f.name} is there`)
    } catch (e) { setError((e as Error).message) } finally { setBusy(false) }
  }
  return (
    <Dialog title="A new user" close={close}>
      <form class="form" onSubmit={submit}>
        <div class="form-row"><Field label="Name">{input('name', { required: true })}</Field><Field label="Kind"><select value={f.kind} onChange={(e) => set({ ...f, kind: e.currentTarget.value })}><option value="device">device</option><option value="person">person</option></select></Field></div>
        <Field label="Groups" hint="They have to exist; rules are usually about groups.">{input('groups', { placeholder: 'devices, region1' })}</Field>
        <Field label="Client ids that it may use" hint="* stands for any characters; empty is any.">{input('client_id')}</Field>
        <Field label="Password" hint="Empty: a random one is made and shown once.">{input('password', { type: 'password', autocomplete: 'new-password' })}</Field>
        <Field label="Note">{input('note')}</Field>
        {error && <p class="bad-text" role="alert">{error}</p>}
        <footer class="dialog-foot"><Button onClick={close}>Cancel</Button><Button type="submit" kind="primary" busy={busy}>Create</Button></footer>
      </form>
    </Dialog>
  )
}
