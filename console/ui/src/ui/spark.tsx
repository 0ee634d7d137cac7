/** A small line of what was; only its shape matters, so it has no axes. */
export function Spark({ values, label, height = 34, tone = 'accent', zero = true }: { values: number[]; label: string; height?: number; tone?: string; zero?: boolean }) {
  if (values.length < 2) return <div class="spark-empty" style={{ height: `${height}px` }} />
  const max = Math.max(...values), low = Math.min(...values)
  // Without zero a small change is small, and none at all is in the middle.
  const high = zero ? max || 1 : Math.max(max - low, Math.abs(max) / 10) || 1
  const min = zero ? 0 : (max + low - high) / 2
  const w = 200
  const x = (i: number) => (i / (values.length - 1)) * w
  const y = (v: number) => height - 2 - ((v - min) / high) * (height - 4)
  const line = values.map((v, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join('')
  return (
    <svg class={`spark ${tone}`} viewBox={`0 0 ${w} ${height}`} height={height} preserveAspectRatio="none" role="img" aria-label={label}>
      <path class="spark-area" d={`${line}L${w} ${height}L0 ${height}Z`} />
      <path class="spark-line" d={line} vector-effect="non-scaling-stroke" />
    </svg>
  )
}
