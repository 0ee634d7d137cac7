/** A small line of what was; only its shape matters, so it has no axes. */
export function Spark({ values, label, height = 34, tone = 'accent', zero = true }: { values: number[]; label: string; height?: number; tone?: string; zero?: boolean }) {
  if (values.length < 2) return <div class="spark-empty" style={{ height: `${height}px` }} />
  const max = Math.max(...values), min = zero ? 0 : Math.min(...values)
  const high = max - min || 1
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
