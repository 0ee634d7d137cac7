// The small parts that every page is made of.
import type { ButtonHTMLAttributes, ComponentChildren } from 'preact'
import { useId, useLayoutEffect, useRef } from 'preact/hooks'
import type { Problem } from '../api'
import { can } from '../api'
import { clock, day, span, stamp, time } from '../format'
import { now } from '../live'
import { CopyAs, type Command } from './copyas'
import { Icon, type IconName } from './icons'

export const cx = (...names: (string | false | undefined | null)[]) => names.filter(Boolean).join(' ')

interface ButtonProps extends Omit<ButtonHTMLAttributes, 'icon' | 'disabled' | 'title' | 'form' | 'type' | 'children'> {
  icon?: IconName; kind?: 'plain' | 'primary' | 'danger' | 'ghost'; small?: boolean; busy?: boolean; children?: ComponentChildren
  disabled?: boolean; type?: 'button' | 'submit'; title?: string; form?: string
}

export function Button({ icon, kind = 'plain', small, busy, children, type = 'button', ...rest }: ButtonProps) {
  return (
    <button {...rest} type={type} disabled={rest.disabled || busy} class={cx('button', kind, small && 'small', !children && 'square')} aria-busy={busy}>
      {icon && <Icon name={icon} size={16} />}
      {children}
    </button>
  )
}

/** A button for those whose role allows it; others don't see it. */
export function Act({ role = 'operator', ...rest }: Omit<ButtonProps, 'role'> & { role?: 'operator' | 'admin' }) {
  return can(role) ? <Button {...rest} /> : null
}

export type Tone = 'ok' | 'warn' | 'bad' | 'calm' | 'accent'

export function Badge({ tone = 'calm', children, title }: { tone?: Tone; children: ComponentChildren; title?: string }) {
  return <span class={cx('badge', tone)} title={title}>{children}</span>
}

export function Dot({ tone, label }: { tone: Tone; label: string }) {
  return <span class={cx('dot', tone)} role="img" aria-label={label} title={label} />
}

/** How long something is, or with past was, ago, kept up to date; the exact time is its title. Brief is for narrow columns: the largest unit alone. */
export function Ago({ at, past, brief }: { at?: string | undefined; past?: boolean; brief?: boolean }) {
  const d = time(at)
  if (!d) return <span class="faint">–</span>
  const seconds = Math.max(0, (now.value - d.getTime()) / 1000)
  return <time dateTime={d.toISOString()} title={stamp(d)}>{seconds < 5 ? (past ? 'just now' : 'now') : (brief ? span(seconds).split(' ').slice(0, 2).join(' ') : span(seconds)) + (past ? ' ago' : '')}</time>
}

/** The clock time of today, the day before it for what is older. */
export function At({ at, ms }: { at?: string | undefined; ms?: boolean }) {
  const d = time(at)
  if (!d) return <span class="faint">–</span>
  const today = day(d) === day(new Date(now.value))
  return <time dateTime={d.toISOString()} title={stamp(d)} class="mono">{today ? '' : day(d).slice(5) + ' '}{clock(d, ms)}</time>
}

export function Empty({ icon = 'ok', title, children }: { icon?: IconName; title: string; children?: ComponentChildren }) {
  return <div class="empty"><Icon name={icon} size={28} /><p class="empty-title">{title}</p>{children && <div class="faint">{children}</div>}</div>
}

export function Note({ tone = 'calm', children }: { tone?: Tone; children: ComponentChildren }) {
  return <div class={cx('note', tone)} role={tone === 'bad' ? 'alert' : undefined}><Icon name={tone === 'bad' ? 'bad' : tone === 'warn' ? 'warn' : tone === 'ok' ? 'ok' : 'help'} size={17} /><div>{children}</div></div>
}

/** What an unsuccessful answer means to who reads the page. */
export function Failure({ error, what, retry }: { error: Problem; what: string; retry?: () => void }) {
  if (error.missing) return <Empty icon="help" title={`This server does not offer ${what}`}>It is another version, or was started without it.</Empty>
  if (error.status === 403) return <Empty icon="security" title={`You may not see ${what}`}>{error.message}</Empty>
  return <Note tone="bad">{what[0]!.toUpperCase() + what.slice(1)} could not be read: {error.message}. {retry && <button class="link" onClick={retry}>Try again</button>}</Note>
}

export function Loading({ rows = 4 }: { rows?: number }) {
  return <div class="loading" role="status" aria-label="Loading">{Array.from({ length: rows }, (_, i) => <div key={i} class="bone" />)}</div>
}

/** Shows what was read, or why not. */
export function Read<T>({ from, what, children, rows }: { from: { data: T | undefined; error: Problem | undefined; reload: () => void }; what: string; children: (data: T) => ComponentChildren; rows?: number }) {
  if (from.data !== undefined) return <>{children(from.data)}</>
  if (from.error) return <Failure error={from.error} what={what} retry={from.reload} />
  return <Loading {...(rows ? { rows } : {})} />
}

export function Tabs({ tabs, active, label }: { tabs: { id: string; title: ComponentChildren; href: string }[]; active: string; label: string }) {
  const ref = useRef<HTMLElement>(null)
  // Where they don't fit, the active one is in sight, also after counts came into others or the window became narrower; the page itself stays where it is.
  const fitted = useRef('')
  const fit = () => {
    const nav = ref.current!, tab = nav.querySelector('[aria-current]')
    const state = `${active} ${nav.clientWidth} ${nav.scrollWidth}`
    if (!tab || state === fitted.current) return
    fitted.current = state
    const all = nav.getBoundingClientRect(), one = tab.getBoundingClientRect()
    nav.scrollLeft += Math.min(0, one.left - all.left) + Math.max(0, one.right - all.right)
  }
  useLayoutEffect(fit)
  useLayoutEffect(() => {
    const ro = new ResizeObserver(fit)
    ro.observe(ref.current!)
    return () => ro.disconnect()
  }, [active])
  return (
    <nav class="tabs" aria-label={label} ref={ref}>
      {tabs.map((t) => <a key={t.id} href={t.href} class={cx('tab', t.id === active && 'active')} aria-current={t.id === active ? 'page' : undefined}>{t.title}</a>)}
    </nav>
  )
}

export function Card({ title, extra, children, class: name }: { title?: ComponentChildren; extra?: ComponentChildren; children: ComponentChildren; class?: string }) {
  const id = useId()
  return (
    <section class={cx('card', name)} aria-labelledby={title ? id : undefined}>
      {title && <header class="card-head"><h2 id={id}>{title}</h2>{extra && <div class="card-extra">{extra}</div>}</header>}
      {children}
    </section>
  )
}

/** One figure with its name; with href it leads to the list behind it. */
export function Figure({ name, value, sub, href, tone, children }: { name: string; value: ComponentChildren; sub?: ComponentChildren; href?: string | undefined; tone?: Tone | undefined; children?: ComponentChildren }) {
  const inner = <><span class="figure-name">{name}</span><span class={cx('figure-value', tone)}>{value}</span>{sub && <span class="figure-sub">{sub}</span>}{children}</>
  return href ? <a class="figure" href={href}>{inner}</a> : <div class="figure">{inner}</div>
}

export function Facts({ rows }: { rows: (readonly [ComponentChildren, ComponentChildren] | false | undefined)[] }) {
  return <dl class="facts">{rows.map((r, i) => r && <div key={i}><dt>{r[0]}</dt><dd>{r[1]}</dd></div>)}</dl>
}

export function Field({ label, hint, children, wide }: { label: string; hint?: ComponentChildren; children: ComponentChildren; wide?: boolean }) {
  return <label class={cx('field', wide && 'wide')}><span class="field-label">{label}</span>{children}{hint && <span class="field-hint">{hint}</span>}</label>
}

export function Meter({ share, label, tone }: { share: number; label: string; tone?: Tone }) {
  const t = tone ?? (share > 0.9 ? 'bad' : share > 0.75 ? 'warn' : 'ok')
  const width = Math.max(0, Math.min(1, share)) * 100
  return <div class="meter" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(width)}><div class={t} style={{ width: `${width}%` }} /></div>
}

/** The top of a page: its name, what can be done, and how to have the same elsewhere. */
export function Head({ title, sub, back, children, command }: { title: ComponentChildren; sub?: ComponentChildren; back?: { href: string; text: string }; children?: ComponentChildren; command?: Command | Command[] }) {
  return (
    <header class="head">
      <div class="head-title">
        {back && <a class="back" href={back.href}>{back.text}<Icon name="chevron" size={13} /></a>}
        <h1>{title}</h1>
        {sub && <div class="head-sub">{sub}</div>}
      </div>
      <div class="head-actions">{children}{command && <CopyAs commands={command} />}</div>
    </header>
  )
}
