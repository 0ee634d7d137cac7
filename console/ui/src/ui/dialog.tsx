// Dialogs on the browser's own <dialog>, which keeps the focus, and short messages that go by themselves.
import { signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { Problem } from '../api'
import { Button, Note } from './basics'
import { type Command, Commands } from './copyas'

interface Toast { id: number; text: ComponentChildren; bad: boolean }
const toasts = signal<Toast[]>([])
let count = 0

export function toast(text: ComponentChildren, bad = false) {
  const id = ++count
  toasts.value = [...toasts.value.slice(-3), { id, text, bad }]
  setTimeout(() => { toasts.value = toasts.value.filter((t) => t.id !== id) }, bad ? 10_000 : 5000)
}

export function Toasts() {
  return <div class="toasts" role="status" aria-live="polite">{toasts.value.map((t) => <div key={t.id} class={t.bad ? 'toast bad' : 'toast'}>{t.text}</div>)}</div>
}

export function Dialog({ title, close, children, wide }: { title: ComponentChildren; close: () => void; children: ComponentChildren; wide?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null)
  // With the click, not after the next paint: what is typed meanwhile belongs to the dialog.
  useLayoutEffect(() => { const d = ref.current; if (d && !d.open) d.showModal(); return () => d?.close() }, [])
  return (
    <dialog ref={ref} class={wide ? 'dialog wide' : 'dialog'} aria-labelledby="dialog-title" onCancel={(e) => { e.preventDefault(); close() }}
      onMouseDown={(e) => { if (e.target === ref.current) close() }}>
      <div class="dialog-body">
        <header class="dialog-head"><h2 id="dialog-title">{title}</h2><Button kind="ghost" small icon="close" aria-label="Close" onClick={close} /></header>
        {children}
      </div>
    </dialog>
  )
}

/** An action that waits for a yes. What it will do is told first, and how to do it elsewhere. */
export interface Action {
  title: string
  /** The effect, in words and figures. */
  effect: ComponentChildren
  confirm: string
  danger?: boolean
  command?: () => Command
  /** Does it; what it returns is said afterwards. */
  run: () => Promise<ComponentChildren | void>
  done?: () => void
  /** Whether it can be done as it stands. */
  ready?: () => boolean
}

const asked = signal<Action | null>(null)
export const ask = (a: Action) => { asked.value = a }

export function Asked() {
  const action = asked.value
  return action ? <Ask key={action.title} action={action} /> : null
}

function Ask({ action }: { action: Action }) {
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const close = () => { if (!busy) asked.value = null }
  // What is chosen in the form is part of the command, and may make it ready.
  const [, again] = useState(0)
  const chosen = () => again((n) => n + 1)
  const ready = action.ready?.() ?? true
  const run = async (e: Event) => {
    e.preventDefault()
    if (busy || !ready) return
    setBusy(true)
    setError('')
    try {
      const said = await action.run()
      asked.value = null
      toast(said ?? `Done: ${action.title}`)
      action.done?.()
    } catch (e) {
      setError(e instanceof Problem && e.missing && e.status !== 404 ? 'This server does not offer that.' : (e as Error).message)
      setBusy(false)
    }
  }
  return (
    <Dialog title={action.title} close={close}>
      <form onSubmit={run} onInput={chosen} onChange={chosen}>
        <div class="dialog-text">{action.effect}</div>
        {error && <Note tone="bad">{error}</Note>}
        {action.command && <details class="same"><summary>The same on the command line</summary><Commands commands={[action.command()]} /></details>}
        <footer class="dialog-foot">
          <Button onClick={close}>Cancel</Button>
          <Button type="submit" kind={action.danger ? 'danger' : 'primary'} busy={busy} disabled={!ready}>{action.confirm}</Button>
        </footer>
      </form>
    </Dialog>
  )
}
