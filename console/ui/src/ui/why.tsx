// An answer to "why": the verdict, one sentence, what to do, and the events that say so.
import { words } from '../format'
import type { Why } from '../types'
import { At, Badge, type Tone } from './basics'
import { FactList } from './facts'
import { Icon } from './icons'

const verdicts: Record<string, [Tone, string]> = {
  fine: ['ok', 'Fine'], hindered: ['warn', 'Hindered'], disconnected: ['bad', 'Disconnected'], silent: ['warn', 'Silent'], slow: ['warn', 'Slow'], refused: ['bad', 'Refused'], flapping: ['warn', 'Flapping'], unknown: ['calm', 'Unknown'],
  received: ['ok', 'Received'], waiting: ['warn', 'Waiting'], dropped: ['bad', 'Dropped'], absent: ['bad', 'Absent'], not_matched: ['bad', 'Not matched'], not_allowed: ['bad', 'Not allowed'], not_published: ['bad', 'Not published'],
}

export function WhyAnswer({ why, without, open }: { why: Why; without?: 'client'; open?: boolean }) {
  const [tone, word] = verdicts[why.verdict] ?? ['calm', words(why.verdict)]
  return (
    <>
      <p class="why-text"><Badge tone={tone}>{word}</Badge> {why.text}{why.since && <span class="faint"> · since <At at={why.since} /></span>}</p>
      {!!why.suggestions?.length && <ul class="suggestions">{why.suggestions.map((s) => <li key={s}><Icon name="arrow" size={14} />{s}</li>)}</ul>}
      {!!why.evidence?.length && <details open={open}><summary>{why.evidence.length === 1 ? 'One event as evidence' : `${why.evidence.length} events as evidence`}</summary><FactList facts={why.evidence} {...(without ? { without } : {})} label="Evidence" /></details>}
    </>
  )
}
