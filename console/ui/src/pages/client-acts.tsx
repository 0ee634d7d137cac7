// What can be done to a client. Each is told in figures before it is done.
import { useState } from 'preact/hooks'
import { call, post, seg } from '../api'
import { bytes, cli, num, span } from '../format'
import type { Ban, BulkDone, ClientDetail } from '../types'
import { Field, Note } from '../ui/basics'
import { ask } from '../ui/dialog'

const keeps = (c: ClientDetail) => c.session_expiry_seconds !== undefined && c.session_expiry_seconds !== 0

export function disconnect(c: ClientDetail, done: () => void) {
  let reason = ''
  ask({
    title: `Disconnect ${c.id}`, confirm: 'Disconnect', danger: true, done,
    effect: <Reason onChange={(v) => { reason = v }}>
      <p>Its connection is closed. {keeps(c) ? <>Its session stays{(c.session_expiry_seconds ?? 0) > 0 ? ` for ${span(c.session_expiry_seconds)}` : ''}: {num(c.subscriptions)} subscriptions and {num(c.queued)} queued messages wait for it.</> : <>Its session ends with it: {num(c.subscriptions)} subscriptions go.</>}</p>
      <p>{c.will ? <>Its will is sent to <code>{c.will.topic}</code>. </> : null}It may connect again at once; most clients do.</p>
    </Reason>,
    command: () => ({ method: 'POST', path: `/clients/${seg(c.id)}/disconnect`, body: reason ? { reason } : {}, cli: cli('clients disconnect', [c.id], { reason }) }),
    run: async () => { await post(`/clients/${seg(c.id)}/disconnect`, reason ? { reason } : {}); return `${c.id} is disconnected` },
  })
}

function Reason({ children, onChange }: { children: preact.ComponentChildren; onChange: (v: string) => void }) {
  return <>{children}<Field label="Reason, told to the client (MQTT 5)" wide><input onInput={(e) => onChange(e.currentTarget.value)} maxLength={200} /></Field></>
}

const lengths: [number, string][] = [[600, '10 minutes'], [3600, '1 hour'], [86400, '1 day'], [604800, '1 week'], [0, 'for ever']]

interface BanChoice { subject: Ban['subject']; ttl: number; reason: string }

function keepOut(c: ClientDetail, apart: boolean, done: () => void) {
  const choice: BanChoice = { subject: 'client', ttl: 3600, reason: '' }
  const value = () => (choice.subject === 'client' ? c.id : choice.subject === 'user' ? (c.user ?? '') : (c.address ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, ''))
  const body = () => ({ subject: choice.subject, value: value(), ...(apart ? { quarantine: true } : {}), ...(choice.ttl ? { ttl_seconds: choice.ttl } : {}), ...(choice.reason ? { reason: choice.reason } : {}) })
  ask({
    title: `${apart ? 'Quarantine' : 'Ban'} ${c.id}`, confirm: apart ? 'Quarantine' : 'Ban', danger: true, done,
    effect: <BanForm c={c} apart={apart} choice={choice} />,
    command: () => ({ method: 'POST', path: '/bans', body: body(), cli: cli(apart ? 'quarantine' : 'ban', [choice.subject, value()], { for: choice.ttl ? `${choice.ttl}s` : '', reason: choice.reason }) }),
    run: async () => {
      const made = await post<{ ban: Ban; met: number }>('/bans', body())
      return `${value()} is ${apart ? 'in quarantine' : 'kept out'}: ${made.met} connected ${made.met === 1 ? 'client was' : 'clients were'} met`
    },
  })
}

export const ban = (c: ClientDetail, done: () => void) => keepOut(c, false, done)
export const quarantine = (c: ClientDetail, done: () => void) => keepOut(c, true, done)

function BanForm({ c, apart, choice }: { c: ClientDetail; apart: boolean; choice: BanChoice }) {
  const [, again] = useState(0)
  const set = (change: Partial<BanChoice>) => { Object.assign(choice, change); again((n) => n + 1) }
  return (
    <>
      <p>{apart ? 'It may connect, but what it publishes reaches nobody and it receives nothing.' : 'It is disconnected now and refused until the ban ends.'}{choice.subject !== 'client' && ' This meets every client of the same ' + choice.subject + '.'}</p>
      <div class="form-row">
        <Field label="Whom"><select value={choice.subject} onChange={(e) => set({ subject: e.currentTarget.value as Ban['subject'] })}><option value="client">this client</option>{c.user && <option value="user">user {c.user}</option>}{c.address && <option value="address">address {c.address.replace(/:\d+$/, '')}</option>}</select></Field>
        <Field label="How long"><select value={String(choice.ttl)} onChange={(e) => set({ ttl: Number(e.currentTarget.value) })}>{lengths.map(([s, t]) => <option key={s} value={String(s)}>{t}</option>)}</select></Field>
      </div>
      <Field label="Reason" wide><input maxLength={200} value={choice.reason} onInput={(e) => set({ reason: e.currentTarget.value })} /></Field>
      <p class="faint">To take it back: Security, Bans.</p>
    </>
  )
}

export function endSession(c: ClientDetail, done: () => void) {
  ask({
    title: `End the session of ${c.id}`, confirm: 'End it', danger: true, done,
    effect: <><p>{num(c.subscriptions)} subscriptions and {num(c.queued)} queued messages ({bytes(c.queue_bytes)}) go for ever. This cannot be undone.</p>{c.will && <p>Its will is sent to <code>{c.will.topic}</code>.</p>}</>,
    command: () => ({ method: 'DELETE', path: `/sessions/${seg(c.id)}`, cli: cli('sessions end', [c.id]) }),
    run: async () => { await call('DELETE', `/sessions/${seg(c.id)}`); return `The session of ${c.id} ended` },
  })
}

const verbs = {
  disconnect: { title: 'Disconnect', effect: 'Their connections are closed. Sessions that are kept wait for them, and they may connect again at once.', done: 'were disconnected' },
  quarantine: { title: 'Quarantine', effect: 'They may connect, but what they publish reaches nobody and they receive nothing.', done: 'are in quarantine' },
  ban: { title: 'Ban', effect: 'They are disconnected now and refused until the ban ends.', done: 'are kept out' },
} as const

/** Does something to all clients that pass a filter: the server says first how many those are, and does it only to so many. */
export async function bulk(verb: keyof typeof verbs, filter: string, done: () => void) {
  const v = verbs[verb], where = `/clients/${verb}`
  const choice = { ttl: 3600, reason: '' }
  const body = () => ({ filter, ...(choice.reason ? { reason: choice.reason } : {}), ...(verb !== 'disconnect' && choice.ttl ? { ttl_seconds: choice.ttl } : {}) })
  let preview: BulkDone | undefined, error = ''
  try { preview = await post<BulkDone>(where, { filter, preview: true }) } catch (e) { error = (e as Error).message }
  const n = preview?.matched ?? 0
  ask({
    title: `${v.title} all clients with ${filter}`, confirm: `${v.title} ${num(n)}`, danger: true, done, ready: () => n > 0,
    effect: preview ? <>
      <p><b>{num(n)}</b> {n === 1 ? 'client is' : 'clients are'} met. {v.effect}</p>
      {!!preview.sample?.length && <><span class="faint">Such as</span><ul class="mono">{preview.sample.slice(0, 6).map((s) => <li key={s} class="wrap">{s}</li>)}</ul></>}
      {n > 1000 && <Note tone="warn">That takes about {span(n / 200)}. Closing this page stops it halfway.</Note>}
      <div class="form-row">
        {verb !== 'disconnect' && <Field label="How long"><select onChange={(e) => { choice.ttl = Number(e.currentTarget.value) }}>{lengths.map(([s, t]) => <option key={s} value={String(s)} selected={s === choice.ttl}>{t}</option>)}</select></Field>}
        <Field label="Reason, which they are told"><input maxLength={200} onInput={(e) => { choice.reason = e.currentTarget.value }} /></Field>
      </div>
    </> : <Note tone="bad">Whom it would meet could not be found out: {error}</Note>,
    command: () => ({ method: 'POST', path: where, body: { ...body(), confirm: n }, ...(verb === 'disconnect' ? { cli: cli('clients disconnect', [], { where: filter, confirm: n, reason: choice.reason }) } : {}) }),
    run: async () => { const r = await post<BulkDone>(where, { ...body(), confirm: n }); return `${num(r.done)} clients ${v.done}${r.gone ? `; ${num(r.gone)} were gone` : ''}` },
  })
}
