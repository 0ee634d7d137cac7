// What a message carries, as the server decoded it.
import { useState } from 'preact/hooks'
import { bytes } from '../format'
import type { Payload } from '../types'
import { Badge, cx } from './basics'
import { copy } from './copyas'
import { Icon } from './icons'

const structured = new Set(['json', 'cbor', 'msgpack', 'sparkplug'])

export function pretty(p: Payload): string {
  if (!structured.has(p.encoding)) return p.text
  try { return JSON.stringify(JSON.parse(p.text), null, 2) } catch { return p.text }
}

const oneLine = (p: Payload) => {
  if (!structured.has(p.encoding) || p.text.length > 20_000) return p.text
  try { return JSON.stringify(JSON.parse(p.text)) } catch { return p.text }
}

export function PayloadView({ payload, compact }: { payload: Payload | undefined; compact?: boolean }) {
  const [raw, setRaw] = useState(false)
  if (!payload) return <span class="faint">no payload known</span>
  if (payload.size === 0) return <span class="faint">empty payload</span>
  if (compact) return <span class="payload-line mono" title={payload.text.slice(0, 500)}>{oneLine(payload).slice(0, 200)}</span>
  const text = raw ? payload.text : pretty(payload)
  return (
    <div class="payload">
      <div class="payload-head">
        <Badge tone="accent">{payload.encoding}</Badge><span class="faint">{bytes(payload.size)}</span>
        {payload.truncated && <Badge tone="warn" title="Only the beginning is kept">truncated</Badge>}
        <span class="grow" />
        {structured.has(payload.encoding) && <button class="link" onClick={() => setRaw(!raw)}>{raw ? 'pretty' : 'as sent'}</button>}
        <button class="button ghost small square" aria-label="Copy the payload" title="Copy the payload" onClick={() => copy(text)}><Icon name="copy" size={15} /></button>
      </div>
      <pre class={cx('payload-text', payload.encoding === 'hex' && 'hex')} tabIndex={0}>{!raw && structured.has(payload.encoding) ? <Json text={text} /> : text}</pre>
    </div>
  )
}

const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g

function Json({ text }: { text: string }) {
  if (text.length > 20_000) return <>{text}</>
  const out = []
  let at = 0
  for (const m of text.matchAll(token)) {
    if (m.index > at) out.push(text.slice(at, m.index))
    at = m.index + m[0].length
    const kind = m[1] ? (m[2] ? 'j-key' : 'j-string') : m[3] ? 'j-word' : 'j-number'
    out.push(<span class={kind}>{m[1] ?? m[0]}</span>)
    if (m[2]) out.push(m[2])
  }
  out.push(text.slice(at))
  return <>{out}</>
}

export interface Line { kind: '+' | '-' | ' '; text: string }

/** Lines that went and came, by their longest common sequence; long texts are compared line by line only. */
export function diff(a: string, b: string): Line[] {
  const x = a.split('\n'), y = b.split('\n')
  if (x.length * y.length > 250_000) return [...x.map((text) => ({ kind: '-' as const, text })), ...y.map((text) => ({ kind: '+' as const, text }))]
  const n = x.length, m = y.length
  const len: Uint16Array[] = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1))
  for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--) len[i]![j] = x[i] === y[j] ? len[i + 1]![j + 1]! + 1 : Math.max(len[i + 1]![j]!, len[i]![j + 1]!)
  const out: Line[] = []
  let i = 0, j = 0
  while (i < n || j < m) {
    if (i < n && j < m && x[i] === y[j]) { out.push({ kind: ' ', text: x[i]! }); i++; j++ }
    else if (i < n && (j >= m || len[i + 1]![j]! >= len[i]![j + 1]!)) out.push({ kind: '-', text: x[i++]! })
    else out.push({ kind: '+', text: y[j++]! })
  }
  return out
}

export function Diff({ from, to }: { from: Payload; to: Payload }) {
  const lines = diff(pretty(from), pretty(to))
  if (lines.every((l) => l.kind === ' ')) return <p class="faint">The payloads are the same.</p>
  return <pre class="payload-text diff" tabIndex={0}>{lines.map((l, i) => <div key={i} class={l.kind === '+' ? 'added' : l.kind === '-' ? 'removed' : ''}><span aria-label={l.kind === '+' ? 'added' : l.kind === '-' ? 'removed' : undefined}>{l.kind} </span>{l.text}</div>)}</pre>
}
