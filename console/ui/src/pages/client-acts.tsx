// What can be done to a client. Each is told in figures before it is done.
import { useState } from 'preact/hooks'
import { call, post, seg } from '../api'
import { bytes, num, quote, span } from '../format'
import type { Ban, ClientDetail } from '../types'
import { Field } from '../ui/basics'
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
    command: () => ({ method: 'POST', path: `/clients/${seg(c.id)}/disconnect`, body: reason ? { reason } : {}, cli: `sapwood clients disconnect ${quote(c.id)}` }),
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
    command: () => ({ method: 'POST', path: '/bans', body: body(), cli: `sapwood ${apart ? 'quarantine' : 'ban'} ${choice.subject} ${quote(value())}${choice.ttl ? ` --for ${choice.ttl}s` : ''}${choice.reason ? ` --reason ${quote(choice.reason)}` : ''}` }),
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
    command: () => ({ method: 'DELETE', path: `/sessions/${seg(c.id)}`, cli: `sapwood sessions end ${quote(c.id)}` }),
    run: async () => { await call('DELETE', `/sessions/${seg(c.id)}`); return `The session of ${c.id} ended` },
  })
}
