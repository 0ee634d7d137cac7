// One more stream, for a page that shows a live list: it opens with the component and ends with it.
import { useEffect, useRef, useState } from 'preact/hooks'
import { apiRoot } from '../api'

/**
 * Calls each with what comes, bundled so that a flood costs one rendering per quarter second. A null path listens to nothing.
 * Opened is called whenever it hears anew; what came before that it may have missed.
 */
export function useStream<T>(where: string | null, events: string[], each: (items: T[]) => void, opened = () => {}): { live: boolean; lost: number } {
  const [live, setLive] = useState(false)
  const [lost, setLost] = useState(0)
  const take = useRef({ each, opened })
  take.current = { each, opened }
  useEffect(() => {
    if (where === null) { setLive(false); return }
    let source: EventSource | undefined, timer = 0, attempt = 0, waiting: T[] = [], flush = 0
    const got = (e: Event) => {
      try { waiting.push(JSON.parse((e as MessageEvent).data) as T) } catch { return }
      if (waiting.length > 5000) waiting = waiting.slice(-5000)
      if (!flush) flush = window.setTimeout(() => { flush = 0; const items = waiting; waiting = []; take.current.each(items) }, 250)
    }
    const open = () => {
      source = new EventSource(apiRoot + where)
      source.onopen = () => { attempt = 0; waiting = []; setLive(true); take.current.opened() }
      for (const name of events) source.addEventListener(name, got)
      source.addEventListener('gone', (e) => { try { setLost((n) => n + (JSON.parse((e as MessageEvent).data).lost ?? 0)) } catch { /* no figure */ } })
      source.addEventListener('end', () => { source?.close(); setLive(false) })
      source.onerror = () => {
        source?.close()
        setLive(false)
        timer = window.setTimeout(open, Math.min(30_000, 1000 * 2 ** attempt++))
      }
    }
    open()
    return () => { source?.close(); clearTimeout(timer); clearTimeout(flush) }
  }, [where, events.join()])
  return { live, lost }
}
