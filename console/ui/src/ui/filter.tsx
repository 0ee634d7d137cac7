import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { Icon } from './icons'

/** A filter that takes effect shortly after the last key. */
export function Filter({ value, onChange, label, placeholder, hints }: { value: string; onChange: (v: string) => void; label: string; placeholder?: string; hints?: string[] }) {
  const [text, setText] = useState(value)
  const sent = useRef(value)
  const timer = useRef(0)
  useLayoutEffect(() => { if (value !== sent.current) { sent.current = value; setText(value) } }, [value])
  useEffect(() => () => clearTimeout(timer.current), [])
  const send = (v: string) => { clearTimeout(timer.current); if (v !== sent.current) { sent.current = v; onChange(v) } }
  return (
    <div class="filter">
      <Icon name="filter" size={16} />
      <input data-filter type="search" aria-label={label} placeholder={placeholder} value={text} spellcheck={false} autocomplete="off" autocapitalize="none" list={hints ? 'filter-hints' : undefined}
        onInput={(e) => { const v = e.currentTarget.value; setText(v); clearTimeout(timer.current); timer.current = window.setTimeout(() => send(v), 250) }}
        onKeyDown={(e) => { if (e.key === 'Enter') send(text); if (e.key === 'Escape') { e.preventDefault(); if (text) { setText(''); send('') } else e.currentTarget.blur() } }} />
      {hints && <datalist id="filter-hints">{hints.map((h) => <option key={h} value={h} />)}</datalist>}
      <kbd>f</kbd>
    </div>
  )
}

/** Filters that are often wanted; pressing one again takes it away. */
export function Chips({ value, onChange, chips }: { value: string; onChange: (v: string) => void; chips: [string, string][] }) {
  const terms = value.split(/\s+/).filter(Boolean)
  return (
    <div class="chips" role="group" aria-label="Often wanted">
      {chips.map(([term, title]) => {
        const on = terms.includes(term)
        return <button key={term} class={on ? 'chip on' : 'chip'} aria-pressed={on} onClick={() => onChange(on ? terms.filter((t) => t !== term).join(' ') : [...terms, term].join(' '))}>{title}</button>
      })}
    </div>
  )
}
