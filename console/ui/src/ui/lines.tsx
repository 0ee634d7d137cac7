// Lines of a trace: packets as they came and went.
import { useMemo, useState } from 'preact/hooks'
import { bytes } from '../format'
import { to } from '../route'
import type { TraceLine } from '../types'
import { At, Badge, cx, Facts } from './basics'
import { PayloadView } from './payload'

export function summary(l: TraceLine): string {
  // Its type and topic stand beside it.
  if (l.text) return l.text === l.type ? '' : l.text.replace(l.type + ' ', '').replace(`topic=${l.topic}`, '').trim()
  const parts: string[] = []
  if (l.id) parts.push(`#${l.id}`)
  if (l.qos !== undefined && /PUBLISH|SUB/.test(l.type)) parts.push(`QoS ${l.qos}`)
  if (l.dup) parts.push('dup')
  if (l.retain) parts.push('retain')
  if (l.code) parts.push(`0x${l.code.toString(16).padStart(2, '0')}`)
  if (l.reason) parts.push(l.reason)
  return parts.join(' ')
}

/** What a line is known by while others come before it: what it says, and which of those that say the same it is, from the oldest. */
function names(lines: TraceLine[]): string[] {
  const met = new Map<string, number>()
  return lines.toReversed().map((l) => {
    const name = `${l.at} ${l.direction} ${l.type} ${l.client} ${l.id} ${l.topic}`
    const n = (met.get(name) ?? 0) + 1
    met.set(name, n)
    return `${name} ${n}`
  }).reverse()
}

/** Lines, the newest first. */
export function Lines({ lines, without }: { lines: TraceLine[]; without?: 'client' | undefined }) {
  const [open, setOpen] = useState<string | null>(null)
  const keys = names(lines)
  return (
    <div class="table-scroll lines" tabIndex={0} role="region" aria-label="Packets">
      <table class="table plain dense">
        <caption class="sr">Packets</caption>
        <thead><tr><th scope="col">Time</th>{!without && <th scope="col">Client</th>}<th scope="col">Packet</th><th scope="col">Topic</th><th scope="col">About it</th><th scope="col" class="right">Size</th></tr></thead>
        <tbody>{lines.map((l, i) => <Line key={keys[i]} line={l} name={keys[i]!} without={without} on={open === keys[i]} set={setOpen} />)}</tbody>
      </table>
    </div>
  )
}

/** One line. What is drawn stays until the line itself is another. */
function Line({ line: l, name, without, on, set }: { line: TraceLine; name: string; without: 'client' | undefined; on: boolean; set: (name: string | null) => void }) {
  return useMemo(() => (
    <>
      <tr class={cx('pickable', on && 'picked')} onClick={(e) => { if (!(e.target as Element).closest('a,button')) set(on ? null : name) }}>
        <td><button class="plain-button" aria-expanded={on} onClick={() => set(on ? null : name)}><At at={l.at} ms /></button></td>
        {!without && <td class="line-client">{l.client ? <a class="clip" href={to('clients', [l.client])}>{l.client}</a> : <span class="mono">{l.address}</span>}</td>}
        <td><span class={cx('packet', l.direction)}><span aria-label={l.direction === 'in' ? 'from the client' : l.direction === 'out' ? 'to the client' : undefined}>{l.direction === 'in' ? '→' : l.direction === 'out' ? '←' : '·'}</span> {l.type}</span>{(l.count ?? 0) > 1 && <Badge title={l.until ? `until ${l.until}` : ''}>{l.count}×</Badge>}</td>
        <td class="wrap line-topic">{l.topic && <a href={to('topics', [], { topic: l.topic })}>{l.topic}</a>}</td>
        <td class="wrap">{summary(l)}</td>
        <td class="right">{l.size !== undefined && bytes(l.size)}</td>
      </tr>
      {on && <tr><td class="wrap" colSpan={without ? 5 : 6}><Detail line={l} /></td></tr>}
    </>
  ), [l, name, without, on])
}

function Detail({ line: l }: { line: TraceLine }) {
  const payload = typeof l.payload === 'string' ? { size: l.payload.length, encoding: 'text', text: l.payload } : l.payload
  return (
    <div class="line-detail">
      <Facts rows={Object.entries(l).filter(([k, v]) => k !== 'payload' && v !== undefined && v !== '').map(([k, v]) => [k, String(v)] as const)} />
      {payload && <PayloadView payload={payload} />}
    </div>
  )
}
