// The same on a command line: every page and every action says how.
import type { RefObject } from 'preact'
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { apiRoot, me } from '../api'
import { quote } from '../format'
import { toast } from './dialog'
import { Icon } from './icons'

export interface Command { what?: string; method?: string; path: string; body?: unknown; cli?: string; /** No key may do it: it is for people. */ people?: boolean }

export function curl({ method = 'GET', path, body, people }: Command): string {
  const parts = ['curl', people ? `-u ${quote(me.value?.user ?? 'admin')}:"$SAPWOOD_ADMIN_PASSWORD"` : '-H "Authorization: Bearer $SAPWOOD_API_KEY"']
  if (method !== 'GET') parts.push('-X', method)
  if (body !== undefined) parts.push('-H', quote('Content-Type: application/json'), '-d', quote(JSON.stringify(body)))
  parts.push(quote(apiRoot + path))
  return parts.join(' ')
}

export async function copy(text: string, what = 'Copied') {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    // Without TLS browsers keep the clipboard to themselves, but for a selection.
    const area = document.createElement('textarea')
    area.value = text
    const parent = document.querySelector('dialog[open]') ?? document.body
    parent.append(area)
    area.select()
    document.execCommand('copy')
    area.remove()
  }
  toast(what)
}

export function Code({ text, label }: { text: string; label: string }) {
  return (
    <div class="code">
      <code tabIndex={0}>{text}</code>
      <button class="button ghost small square" title={`Copy ${label}`} aria-label={`Copy ${label}`} onClick={() => copy(text)}><Icon name="copy" size={15} /></button>
    </div>
  )
}

export function Commands({ commands }: { commands: Command[] }) {
  return <>{commands.map((c, i) => (
    <div key={i} class="commands">
      {c.what && <div class="faint">{c.what}</div>}
      {c.cli && <><span class="commands-name">Command line</span><Code text={c.cli} label="the command" /></>}
      <span class="commands-name">curl</span><Code text={curl(c)} label="the curl line" />
    </div>
  ))}</>
}

/** What is open closes by Escape, which gives the focus back to its button, and by a press elsewhere. */
export function useClosing(ref: RefObject<HTMLElement | null>, open: boolean, close: () => void) {
  // Before it is painted, so that whoever sees it can close it.
  useLayoutEffect(() => {
    if (!open) return
    const away = (e: Event) => { if (!ref.current?.contains(e.target as Node)) close() }
    const key = (e: KeyboardEvent) => { if (e.key === 'Escape') { close(); ref.current?.querySelector<HTMLElement>('[aria-expanded]')?.focus() } }
    addEventListener('pointerdown', away)
    addEventListener('keydown', key)
    return () => { removeEventListener('pointerdown', away); removeEventListener('keydown', key) }
  }, [open])
}

export function CopyAs({ commands }: { commands: Command | Command[] }) {
  const [open, set] = useState(false)
  const ref = useRef<HTMLDivElement>(null)
  useClosing(ref, open, () => set(false))
  return (
    <div class="copyas" ref={ref}>
      <button class="button ghost" aria-expanded={open} onClick={() => set(!open)} title="The same with curl or on the command line"><Icon name="copy" size={16} /><span>Copy as</span></button>
      {open && <div class="popover" role="dialog" aria-label="Copy as"><Commands commands={[commands].flat()} /></div>}
    </div>
  )
}
