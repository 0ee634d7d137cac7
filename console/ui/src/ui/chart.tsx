// A chart of the past on uPlot. All charts of a page share one time: who drags over one chooses it for all.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import type uPlotType from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { dark } from '../theme'

/** Steps that labels can say as they are: 1, 2 and 5 times a power of ten, or powers of two for bytes. */
const steps = (least: number) => Array.from({ length: 48 }, (_, i) => [1, 2, 5][i % 3]! * 10 ** (Math.floor(i / 3))).map((n) => (least < 1 ? n / Math.round(1 / least) : n * least))
const binary = Array.from({ length: 50 }, (_, i) => 2 ** i)

export interface Series { name: string; points: [number, number | null][]; color?: number; area?: boolean }

const colors = { light: ['#23634a', '#a8660d', '#3a6ea5', '#b3261e', '#6b5ca5'], dark: ['#7fcca0', '#e2b65b', '#7db2e8', '#ff8f84', '#b3a3f0'] }
export const color = (i: number) => (dark.value ? colors.dark : colors.light)[i % 5]!

let plot: typeof uPlotType | undefined
const engine = async () => (plot ??= (await import('uplot')).default)

/** Lines on the times of all of them. */
function join(series: Series[]): (number | null)[][] {
  const times = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b)
  const at = new Map(times.map((t, i) => [t, i]))
  return [times, ...series.map((s) => {
    const out: (number | null)[] = new Array(times.length).fill(null)
    for (const [t, v] of s.points) out[at.get(t)!] = v
    return out
  })]
}

export function Chart({ series, format, from, to, choose, label, sync = 'charts', max, height = 180, least = 1e-6 }: {
  series: Series[]; format: (v: number) => string; from: number; to: number; choose: (from: number, to: number) => void; label: string; sync?: string; max?: number | undefined; height?: number
  /** The smallest step of the axis: what format can tell apart. Bytes have steps of their own. */
  least?: number | 'bytes' | undefined
}) {
  const box = useRef<HTMLDivElement>(null)
  const chart = useRef<uPlotType | undefined>(undefined)
  const [at, setAt] = useState<number | null>(null)
  const isDark = dark.value
  const names = series.map((s) => s.name).join('\n')
  const live = useRef({ choose, series, from, to })
  live.current = { choose, series, from, to }
  useEffect(() => {
    let gone = false
    let ro: ResizeObserver | undefined
    void engine().then((U) => {
      if (gone || !box.current) return
      const ink = getComputedStyle(document.documentElement).getPropertyValue('--ink-3').trim()
      const grid = getComputedStyle(document.documentElement).getPropertyValue('--line').trim()
      const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' }
      const u = new U({
        width: box.current.clientWidth, height, legend: { show: false }, padding: [8, 18, 0, 0],
        cursor: { sync: { key: sync }, drag: { x: true, y: false, setScale: false }, points: { size: 6 }, y: false },
        scales: { x: { time: true, range: () => [live.current.from, live.current.to] }, y: { range: (_u, _lo, hi) => [0, max ?? (hi > 0 ? hi * 1.08 : 1)] } },
        axes: [{ ...axis, space: 70, size: 26, values: [[86400, '{MM}-{DD}', null, null, null, null, null, null, 1], [3600, '{HH}:{mm}', '\n{MM}-{DD}', null, null, null, null, null, 1], [60, '{HH}:{mm}', null, null, null, null, null, null, 1], [1, '{HH}:{mm}:{ss}', null, null, null, null, null, null, 1]] as never },
          { ...axis, size: 62, space: 34, incrs: least === 'bytes' ? binary : steps(least), values: (_u, v) => v.map((x) => (x === null ? '' : format(x))) }],
        series: [{}, ...live.current.series.map((s, i) => ({ label: s.name, stroke: color(s.color ?? i), width: 1.5, points: { show: false }, ...(s.area !== false && live.current.series.length === 1 ? { fill: color(s.color ?? i) + '1f' } : {}) }))],
        hooks: {
          setCursor: [(u) => setAt(u.cursor.idx ?? null)],
          setSelect: [(u) => {
            if (u.select.width < 6) return
            const a = u.posToVal(u.select.left, 'x'), b = u.posToVal(u.select.left + u.select.width, 'x')
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
            live.current.choose(Math.floor(a), Math.ceil(b))
          }],
        },
      }, join(live.current.series) as never, box.current)
      chart.current = u
      ro = new ResizeObserver(() => { if (box.current) u.setSize({ width: box.current.clientWidth, height }) })
      ro.observe(box.current)
    })
    return () => { gone = true; ro?.disconnect(); chart.current?.destroy(); chart.current = undefined }
  }, [names, isDark, height, max, least])
  const joined = useMemo(() => join(series), [series])
  useEffect(() => { chart.current?.setData(joined as never) }, [joined, from, to])
  const idx = at
  return (
    <figure aria-label={label}>
      <div class="chart-legend">{series.map((s, i) => {
        const v = idx !== null && joined[i + 1]?.[idx] !== undefined ? joined[i + 1]![idx]! : s.points.findLast((p) => p[1] !== null)?.[1]
        return <span key={s.name}><i style={{ background: color(s.color ?? i) }} />{s.name} <b>{v === undefined || v === null ? '–' : format(v)}</b></span>
      })}</div>
      <div class="chart" ref={box} style={{ minHeight: `${height}px` }} />
    </figure>
  )
}
