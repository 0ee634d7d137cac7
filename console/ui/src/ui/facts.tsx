// Facts as people read them: one line each, more on request.
import { useState } from 'preact/hooks'
import { num, span, words } from '../format'
import { to } from '../route'
import type { Fact } from '../types'
import { At, Badge, cx, type Tone } from './basics'
import { Icon } from './icons'

const tones: Record<string, Tone> = {
  connected: 'ok', session_resumed: 'ok', stall_ended: 'ok', canary_back: 'ok', backend_back: 'ok', started: 'ok', quarantine_ended: 'ok', unbanned: 'ok',
  refused: 'bad', denied: 'bad', protocol_error: 'bad', imbalance: 'bad', canary_failed: 'bad', backend_failed: 'bad', banned: 'bad',
  dropped: 'warn', taken_over: 'warn', limited: 'warn', stalled: 'warn', overload: 'warn', quarantined: 'warn', not_recorded: 'warn', certificate: 'warn', subscription_rests: 'warn',
  will_sent: 'warn', retained_deleted: 'warn', store: 'warn', admin: 'accent', reloaded: 'accent',
}

export const kinds = ['connected', 'refused', 'disconnected', 'taken_over', 'denied', 'subscribed', 'unsubscribed', 'will_sent', 'will_cancelled', 'session_created', 'session_resumed',
  'session_ended', 'limited', 'dropped', 'stalled', 'stall_ended', 'protocol_error', 'banned', 'unbanned', 'quarantined', 'quarantine_ended', 'overload', 'store', 'started', 'stopping',
  'reloaded', 'admin', 'imbalance', 'canary_failed', 'canary_back', 'not_recorded', 'certificate', 'backend_failed', 'backend_back', 'retained_deleted', 'subscription_rests', 'subscription_resumes']

export const tone = (kind: string): Tone => tones[kind] ?? 'calm'

export function FactRow({ fact, without }: { fact: Fact; without?: 'client' }) {
  const [open, set] = useState(false)
  return (
    <li class={cx('fact', open && 'open')}>
      <button class="fact-line" aria-expanded={open} onClick={() => set(!open)}>
        <At at={fact.at} />
        <Badge tone={tone(fact.kind)}>{words(fact.kind)}</Badge>
        <span class="fact-text">{fact.client && without !== 'client' && !fact.text.includes(fact.client) && <><b>{fact.client}</b> · </>}{fact.text}{fact.count && fact.count > 1 && !new RegExp(`\\b${fact.count}\\b`).test(fact.text) ? <span class="faint"> · {num(fact.count)}×</span> : null}</span>
        <Icon name="down" size={14} />
      </button>
      {open && <FactDetail fact={fact} {...(without ? { without } : {})} />}
    </li>
  )
}

export function FactDetail({ fact, without }: { fact: Fact; without?: 'client' }) {
  const rows: [string, preact.ComponentChildren][] = []
  if (fact.client && without !== 'client') rows.push(['Client', <a href={to('clients', [fact.client])}>{fact.client}</a>])
  if (fact.user) rows.push(['User', <a href={to('events', [], { user: fact.user })}>{fact.user}</a>])
  if (fact.address) rows.push(['Address', <a href={to('events', [], { address: fact.address.replace(/:\d+$/, '') })}>{fact.address}</a>])
  if (fact.listener) rows.push(['Listener', fact.listener])
  if (fact.topic) rows.push(['Topic', <a href={to('topics', [], { topic: fact.topic.replace(/\/#$/, '') })}>{fact.topic}</a>])
  if (fact.reason) rows.push(['Reason', <a href={to('events', [], { kind: fact.kind, reason: fact.reason })}>{fact.reason}</a>])
  if (fact.code) rows.push(['Code', <span class="mono">0x{fact.code.toString(16).padStart(2, '0')}</span>])
  if (fact.count) rows.push(['Count', num(fact.count)])
  for (const [k, v] of Object.entries(fact.detail ?? {})) rows.push([words(k), /_seconds$|offline_for/.test(k) && Number(v) ? span(Number(v)) : v])
  rows.push(['Time', fact.at], ['Number', String(fact.id)])
  return <dl class="facts fact-detail">{rows.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
}

export function FactList({ facts, without, label }: { facts: Fact[]; without?: 'client'; label: string }) {
  return <ul class="factlist" aria-label={label}>{facts.map((f) => <FactRow key={f.id} fact={f} {...(without ? { without } : {})} />)}</ul>
}
