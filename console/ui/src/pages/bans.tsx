import { useEffect, useState } from 'preact/hooks'
import { call, can, post, seg, useList } from '../api'
import { cli, counted, span } from '../format'
import type { Ban } from '../types'
import { Badge, Button, Empty, Field, Read } from '../ui/basics'
import { ask, Dialog, toast } from '../ui/dialog'
import { Met } from './client-acts'

export function Bans() {
  const bans = useList<Ban>('/bans', 5000)
  const [adding, setAdding] = useState(false)
  const lift = (b: Ban) => ask({
    title: `Let ${b.value} in again`, confirm: 'Let in', done: bans.reload, effect: <p>{b.quarantine ? 'It is no longer kept apart.' : 'Its next connection is judged as any other.'}</p>,
    command: () => ({ method: 'DELETE', path: `/bans/${seg(b.subject)}/${seg(b.value)}`, cli: cli('unban', [b.subject, b.value]) }),
    run: async () => { await call('DELETE', `/bans/${seg(b.subject)}/${seg(b.value)}`); return `${b.value} may come in again` },
  })
  return (
    <>
      <div class="toolbar"><p class="faint grow">Who is kept out, or let in and kept apart.</p>{can('operator') && <Button icon="plus" kind="primary" onClick={() => setAdding(true)}>Ban</Button>}</div>
      <Read from={bans} what="bans">{(all) => all.length === 0 ? <Empty icon="security" title="Nobody is kept out" /> : (
        <div class="table-scroll" tabIndex={0} role="region" aria-label="Bans"><table class="table plain">
          <caption class="sr">Bans</caption>
          <thead><tr><th scope="col">Whom</th><th scope="col">How</th><th scope="col">Why</th><th scope="col">By</th><th scope="col">Until</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
          <tbody>{all.map((b) => <tr key={b.subject + b.value}><td class="wrap"><Badge>{b.subject}</Badge> <span class="mono">{b.value}</span></td><td>{b.quarantine ? <Badge tone="warn">quarantine</Badge> : <Badge tone="bad">banned</Badge>}</td><td>{b.reason}</td><td>{b.by}</td><td title={b.until}>{b.until ? `in ${span(Math.max(0, (Date.parse(b.until) - Date.now()) / 1000))}` : 'for ever'}</td><td class="right">{can('operator') && <Button small onClick={() => lift(b)}>Let in…</Button>}</td></tr>)}</tbody>
        </table></div>
      )}</Read>
      {adding && <AddBan close={() => setAdding(false)} done={bans.reload} />}
    </>
  )
}

function AddBan({ close, done }: { close: () => void; done: () => void }) {
  const [f, set] = useState({ subject: 'client', value: '', ttl: '3600', reason: '', quarantine: false })
  const [error, setError] = useState('')
  // While somebody types, nobody is counted.
  const [value, settle] = useState('')
  useEffect(() => { const t = setTimeout(() => settle(f.value.trim()), 300); return () => clearTimeout(t) }, [f.value])
  const submit = async (e: Event) => {
    e.preventDefault()
    try {
      const r = await post<{ met: number }>('/bans', { subject: f.subject, value: f.value, ...(f.quarantine ? { quarantine: true } : {}), ...(Number(f.ttl) ? { ttl_seconds: Number(f.ttl) } : {}), ...(f.reason ? { reason: f.reason } : {}) })
      close()
      done()
      toast(`${f.value} is ${f.quarantine ? 'in quarantine' : 'kept out'}: ${counted(r.met, 'connected client')} ${r.met === 1 ? 'was' : 'were'} met`)
    } catch (e) { setError((e as Error).message) }
  }
  return (
    <Dialog title="Keep somebody out" close={close}>
      <form class="form" onSubmit={submit}>
        <div class="form-row">
          <Field label="Whom"><select value={f.subject} onChange={(e) => set({ ...f, subject: e.currentTarget.value })}><option value="client">client id</option><option value="pattern">client ids like</option><option value="user">user</option><option value="address">address or network</option></select></Field>
          <Field label="Which"><input required value={f.value} onInput={(e) => set({ ...f, value: e.currentTarget.value })} spellcheck={false} placeholder={f.subject === 'address' ? '203.0.113.0/24' : f.subject === 'pattern' ? 'test-*' : ''} /></Field>
          <Field label="How long"><select value={f.ttl} onChange={(e) => set({ ...f, ttl: e.currentTarget.value })}><option value="600">10 minutes</option><option value="3600">1 hour</option><option value="86400">1 day</option><option value="604800">1 week</option><option value="0">for ever</option></select></Field>
        </div>
        <Field label="Reason, which it is told"><input value={f.reason} onInput={(e) => set({ ...f, reason: e.currentTarget.value })} maxLength={200} /></Field>
        <label class="check"><input type="checkbox" checked={f.quarantine} onChange={(e) => set({ ...f, quarantine: e.currentTarget.checked })} /> let it in, but keep it apart (quarantine)</label>
        <Met subject={f.subject} value={value} apart={f.quarantine} />
        {error && <p class="bad-text" role="alert">{error}</p>}
        <footer class="dialog-foot"><Button onClick={close}>Cancel</Button><Button type="submit" kind="danger">{f.quarantine ? 'Quarantine' : 'Ban'}</Button></footer>
      </form>
    </Dialog>
  )
}
