// One more stream, for a page that shows a live list: it opens with the component and ends with it.
import { useEffect, useRef, useState } from 'preact/hooks'
import { apiRoot } from '../api'

/** Calls each with what comes, bundled so that a flood costs one rendering per quarter second. A null path listens to nothing. */
export function useStream<T>(where: string | null, events: string[], each: (items: T[]) => void): { live: boolean; lost: number } {
  const [live, setLive] = useState(false)
  const [lost, setLost] = useState(0)
  const take = useRef(each)
  take.current = each
  useEffect(() => {
    if (where === null) { setLive(false); return }
    let source: EventSource | undefined, timer = 0, attempt = 0, waiting: T[] = [], flush = 0
    const got = (e: Event) => {
      try { waiting.push(JSON.parse((e as MessageEvent).data) as T) } catch { return }
      if (waiting.length > 5000) waiting = waiting.slice(-5000)
      if (!flush) flush = window.setTimeout(() => { flush = 0; const items = waiting; waiting = []; take.current(items) }, 250)
    }
    const open = () => {
      source = new EventSource(apiRoot + where)
      source.onopen = () => { attempt = 0; setLive(true) }
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
