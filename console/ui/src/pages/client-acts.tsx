// What can be done to a client. Each is told in figures before it is done.
import { useState } from 'preact/hooks'
import { call, get, path, post, seg, useLoad } from '../api'
import { bytes, cli, counted, num, span, term } from '../format'
import { to } from '../route'
import type { Ban, BulkDone, Client, ClientDetail, Page } from '../types'
import { Field, Note } from '../ui/basics'
import { ask } from '../ui/dialog'

const keeps = (c: ClientDetail) => c.session_expiry_seconds !== undefined && c.session_expiry_seconds !== 0

export function disconnect(c: ClientDetail, done: () => void) {
  let reason = ''
  ask({
    title: `Disconnect ${c.id}`, confirm: 'Disconnect', danger: true, done,
    effect: <Reason onChange={(v) => { reason = v }}>
      <p>Its connection is closed. {keeps(c) ? <>Its session stays{(c.session_expiry_seconds ?? 0) > 0 ? ` for ${span(c.session_expiry_seconds)}` : ''}: {counted(c.subscriptions, 'subscription')} and {counted(c.queued, 'queued message')} wait for it.</> : <>Its session ends with it: {counted(c.subscriptions, 'subscription')} {c.subscriptions === 1 ? 'goes' : 'go'}.</>}</p>
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

/** What a ban of this kind names when it is about this client. */
const whom = (c: ClientDetail, subject: Ban['subject']) => (subject === 'client' ? c.id : subject === 'user' ? (c.user ?? '') : (c.address ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, ''))

// An address or a network, as far as it can be told without the broker, which knows better.
const network = /^(?:(?:\d{1,3}\.){3}\d{1,3}|[\da-f.]*:[\da-f:.]*)(?:\/\d{1,3})?$/i

/** The filter of lists of clients that passes whom a ban is about; undefined for what is none yet. */
export function about(subject: string, value: string): string | undefined {
  const plain = /^[^\s"\\]+$/.test(value)
  if (subject === 'client') return `id:${term(value)}`
  if (subject === 'user') return `user:${term(value)}`
  if (subject === 'pattern') return plain ? `id:${value}` : undefined
  return network.test(value) ? `address:${value}` : undefined
}

/** How many clients a ban meets now, and some of them. */
export function Met({ subject, value, apart }: { subject: string; value: string; apart: boolean }) {
  const filter = value ? about(subject, value) : undefined
  const online = useLoad<Page<Client>>(filter ? path('/clients', { filter: `${filter} connected:true`, limit: 6 }) : null)
  const all = useLoad<Page<Client>>(filter ? path('/clients', { filter, limit: 1 }) : null)
  const n = online.data?.matched, more = (all.data?.matched ?? 0) - (n ?? 0), names = (online.data?.items ?? []).map((c) => c.id)
  return (
    <>
      <p>{apart ? 'Those it is about may connect, but what they publish reaches nobody and they receive nothing.' : 'Those it is about are refused until it ends, and disconnected now if they are connected.'}</p>
      {value !== '' && (filter === undefined ? <p class="faint">How many are connected from there is told when it is done.</p>
        : online.error ? <p class="bad-text">Whom it meets could not be found out: {online.error.message}</p>
        : n === undefined || !all.data ? <p class="faint">Counting whom it meets …</p>
        : <p><b>{counted(n, 'client')}</b> that {n === 1 ? 'is' : 'are'} connected {n === 1 ? 'is' : 'are'} met{n > 0 && ': '}{names.map((id, i) => <span key={id}>{i > 0 && ', '}<span class="mono wrap">{id}</span></span>)}{n > names.length && ' and others'}.{more > 0 && ` It is about ${num(more)} more that ${more === 1 ? 'is' : 'are'} offline.`} <a href={to('clients', [], { filter })} target="_blank" rel="noreferrer">Show</a></p>)}
    </>
  )
}

interface BanChoice { subject: Ban['subject']; ttl: number; reason: string }

function keepOut(c: ClientDetail, apart: boolean, done: () => void) {
  const choice: BanChoice = { subject: 'client', ttl: 3600, reason: '' }
  const value = () => whom(c, choice.subject)
  const body = () => ({ subject: choice.subject, value: value(), ...(apart ? { quarantine: true } : {}), ...(choice.ttl ? { ttl_seconds: choice.ttl } : {}), ...(choice.reason ? { reason: choice.reason } : {}) })
  ask({
    title: `${apart ? 'Quarantine' : 'Ban'} ${c.id}`, confirm: apart ? 'Quarantine' : 'Ban', danger: true, done,
    effect: <BanForm c={c} apart={apart} choice={choice} />,
    command: () => ({ method: 'POST', path: '/bans', body: body(), cli: cli(apart ? 'quarantine' : 'ban', [choice.subject, value()], { for: choice.ttl ? `${choice.ttl}s` : '', reason: choice.reason }) }),
    run: async () => {
      const made = await post<{ ban: Ban; met: number }>('/bans', body())
      return `${value()} is ${apart ? 'in quarantine' : 'kept out'}: ${counted(made.met, 'connected client')} ${made.met === 1 ? 'was' : 'were'} met`
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
      {choice.subject === 'client'
        ? <p>{apart ? 'It may connect, but what it publishes reaches nobody and it receives nothing.' : `It is ${c.connected ? 'disconnected now and ' : ''}refused until the ban ends.`}</p>
        : <Met subject={choice.subject} value={whom(c, choice.subject)} apart={apart} />}
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
    effect: <><p>{counted(c.subscriptions, 'subscription')} and {counted(c.queued, 'queued message')} ({bytes(c.queue_bytes)}) go for ever. This cannot be undone.</p>{c.will && <p>Its will is sent to <code>{c.will.topic}</code>.</p>}</>,
    command: () => ({ method: 'DELETE', path: `/sessions/${seg(c.id)}`, cli: cli('sessions end', [c.id]) }),
    run: async () => { await call('DELETE', `/sessions/${seg(c.id)}`); return `The session of ${c.id} ended` },
  })
}

const verbs = {
  disconnect: { title: 'Disconnect', effect: ['Its connection is closed. A session that is kept waits for it, and it may connect again at once.', 'Their connections are closed. Sessions that are kept wait for them, and they may connect again at once.'], done: ['was disconnected', 'were disconnected'] },
  quarantine: { title: 'Quarantine', effect: ['It may connect, but what it publishes reaches nobody and it receives nothing.', 'They may connect, but what they publish reaches nobody and they receive nothing.'], done: ['is in quarantine', 'are in quarantine'] },
  ban: { title: 'Ban', effect: ['It is refused until the ban ends.', 'They are refused until the ban ends.'], done: ['is kept out', 'are kept out'] },
} as const

/** Does something to all clients that pass a filter: the server says first how many those are, and does it only to so many. */
export async function bulk(verb: keyof typeof verbs, filter: string, done: () => void) {
  const v = verbs[verb], where = `/clients/${verb}`
  const choice = { ttl: 3600, reason: '' }
  const body = () => ({ filter, ...(choice.reason ? { reason: choice.reason } : {}), ...(verb !== 'disconnect' && choice.ttl ? { ttl_seconds: choice.ttl } : {}) })
  let preview: BulkDone | undefined, error = ''
  try { preview = await post<BulkDone>(where, { filter, preview: true }) } catch (e) { error = (e as Error).message }
  const n = preview?.matched ?? 0
  // Those who are away cannot be disconnected, but they can be kept out.
  let online = n
  if (n > 0 && verb === 'ban') online = (await get<Page<Client>>(path('/clients', { filter: `${filter} connected:true`, limit: 1 })).catch(() => undefined))?.matched ?? n
  ask({
    title: `${v.title} all clients with ${filter}`, confirm: `${v.title} ${num(n)}`, danger: true, done, ready: () => n > 0,
    effect: preview ? <>
      <p><b>{num(n)}</b> {n === 1 ? 'client is' : 'clients are'} met. {v.effect[n === 1 ? 0 : 1]}{verb === 'ban' && (online === 0 ? (n === 1 ? ' It is not connected now.' : ' None of them is connected now.') : online < n ? ` The ${num(online)} of them that ${online === 1 ? 'is' : 'are'} connected ${online === 1 ? 'is' : 'are'} disconnected now.` : n === 1 ? ' It is connected, and disconnected now.' : ' They are connected, and disconnected now.')}</p>
      {!!preview.sample?.length && <><span class="faint">Such as</span><ul class="mono">{preview.sample.slice(0, 6).map((s) => <li key={s} class="wrap">{s}</li>)}</ul></>}
      {n > 1000 && <Note tone="warn">That takes about {span(n / 200)}. Closing this page stops it halfway.</Note>}
      <div class="form-row">
        {verb !== 'disconnect' && <Field label="How long"><select onChange={(e) => { choice.ttl = Number(e.currentTarget.value) }}>{lengths.map(([s, t]) => <option key={s} value={String(s)} selected={s === choice.ttl}>{t}</option>)}</select></Field>}
        <Field label="Reason, which they are told"><input maxLength={200} onInput={(e) => { choice.reason = e.currentTarget.value }} /></Field>
      </div>
    </> : <Note tone="bad">Whom it would meet could not be found out: {error}</Note>,
    command: () => ({ method: 'POST', path: where, body: { ...body(), confirm: n }, ...(verb === 'disconnect' ? { cli: cli('clients disconnect', [], { where: filter, confirm: n, reason: choice.reason }) } : {}) }),
    run: async () => { const r = await post<BulkDone>(where, { ...body(), confirm: n }); return `${counted(r.done, 'client')} ${v.done[r.done === 1 ? 0 : 1]}${r.gone ? `; ${num(r.gone)} were gone` : ''}` },
  })
}
