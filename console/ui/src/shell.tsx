// The frame around every page: navigation, search, the state of the live stream, who is logged in.
import { Component, type ComponentChildren, type ComponentType } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { logout, me } from './api'
import { num, span } from './format'
import * as live from './live'
import { pages } from './pages'
import { go, route, to } from './route'
import { nextTheme, theme } from './theme'
import { Badge, Button, cx, Empty, Loading, Note } from './ui/basics'
import { ChangePassword } from './ui/account'
import { useClosing } from './ui/copyas'
import { Asked, Dialog, Toasts } from './ui/dialog'
import { Icon, Logo } from './ui/icons'
import { Login } from './ui/login'
import { openSearch, Search, searching } from './ui/search'

export function Shell() {
  if (me.value === undefined) return <div class="splash"><Logo size={44} /></div>
  return <>{me.value === null ? <Login /> : <Frame />}<Asked /><Toasts /></>
}

const typing = (e: KeyboardEvent) => {
  const t = e.target as HTMLElement
  return /^(INPUT|TEXTAREA|SELECT)$/.test(t.tagName) || t.isContentEditable
}

function useKeys(help: () => void) {
  useLayoutEffect(() => {
    let go1 = 0
    const key = (e: KeyboardEvent) => {
      if (e.ctrlKey && e.key === 'k' || e.metaKey && e.key === 'k') { e.preventDefault(); openSearch(); return }
      if (e.ctrlKey || e.metaKey || e.altKey || typing(e) || document.querySelector('dialog[open]')) return
      if (e.key === '/') { e.preventDefault(); openSearch() }
      else if (e.key === '?') { e.preventDefault(); help() }
      else if (e.key === 'g') go1 = Date.now()
      else if (Date.now() - go1 < 1200) {
        const page = pages.find((p) => p.key === e.key)
        if (page) { e.preventDefault(); go(to(page.id)); go1 = 0 }
      } else if (e.key === 'f') {
        const filter = document.querySelector<HTMLInputElement>('main [data-filter]')
        if (filter) { e.preventDefault(); filter.focus(); filter.select() }
      }
    }
    addEventListener('keydown', key)
    return () => removeEventListener('keydown', key)
  }, [])
}

function Frame() {
  const [help, setHelp] = useState(false)
  const [menu, setMenu] = useState(false)
  const [password, setPassword] = useState(false)
  const nav = useRef<HTMLElement>(null)
  useKeys(() => setHelp(true))
  useClosing(nav, menu, () => setMenu(false))
  useEffect(() => { live.start(); return live.end }, [me.value?.user])
  const { page } = route.value
  const entry = pages.find((p) => p.id === page)
  useLayoutEffect(() => { document.title = `${entry?.title ?? 'Not found'} · Sapwood`; setMenu(false) }, [entry])
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById('main')?.focus() }}>Skip to the page</a>
      <nav ref={nav} class={cx('nav', menu && 'open')} aria-label="Pages">
        <a class="brand" href={to('now')} aria-label="Sapwood, now"><Logo /><span>Sapwood</span></a>
        <ul>
          {pages.map((p, i) => (
            <li key={p.id} class={i > 3 ? 'less' : undefined}>
              <a href={to(p.id)} onClick={() => setMenu(false)} class={cx('nav-item', p.id === page && 'active')} aria-current={p.id === page ? 'page' : undefined} title={`${p.title} (g ${p.key})`}>
                <Icon name={p.icon} size={19} /><span>{p.title}</span>
              </a>
            </li>
          ))}
          <li class="nav-more"><button class="nav-item" aria-expanded={menu} onClick={() => setMenu(!menu)}><Icon name="more" size={19} /><span>More</span></button></li>
        </ul>
        <div class="nav-foot">
          <LiveState />
          <button class="nav-item" onClick={nextTheme} title={`Colours: ${theme.value}`}><Icon name={theme.value === 'auto' ? 'auto' : theme.value === 'dark' ? 'moon' : 'sun'} size={19} /><span>{theme.value === 'auto' ? 'System colours' : theme.value === 'dark' ? 'Dark' : 'Light'}</span></button>
          <button class="nav-item" onClick={() => setHelp(true)} title="Keyboard (?)"><Icon name="help" size={19} /><span>Keyboard</span></button>
          <div class="who">
            <button class="plain-button who-button" disabled={me.value?.kind !== undefined && me.value.kind !== 'operator'} onClick={() => setPassword(true)} title="Change the password" aria-label="Change the password"><Icon name="user" size={19} /></button>
            <span class="who-name"><span>{me.value?.user || 'local'}</span><span class="faint">{me.value?.role}</span></span>
            {me.value?.user && <Button kind="ghost" small icon="out" aria-label="Log out" title="Log out" onClick={() => void logout()} />}
          </div>
        </div>
      </nav>
      <div class="body">
        <header class="topbar">
          <button class="searchbar" onClick={openSearch}><Icon name="search" size={16} /><span>Search clients, topics, pages</span><kbd>/</kbd></button>
          <span class="grow" />
          <Pulse />
        </header>
        <Lost />
        {me.value?.password_change_needed && <div class="lost warn" role="status"><Icon name="warn" size={16} /><span>Somebody else knows your password.</span><button class="link" onClick={() => setPassword(true)}>Change it</button></div>}
        <main id="main" tabIndex={-1} class="main"><Guard key={page}>{entry ? <Lazy key={page} load={entry.load} /> : <Empty icon="help" title="There is no such page"><a href={to('now')}>To the first page</a></Empty>}</Guard></main>
      </div>
      {searching.value && <Search />}
      {password && <ChangePassword forced={me.value?.password_change_needed ?? false} close={() => setPassword(false)} />}
      {help && <Help close={() => setHelp(false)} />}
    </div>
  )
}

const loaded = new Map<unknown, ComponentType>()

function Lazy({ load }: { load: () => Promise<{ default: ComponentType }> }) {
  const [, set] = useState(0)
  const [failed, setFailed] = useState(false)
  useEffect(() => {
    if (!loaded.has(load)) load().then((m) => { loaded.set(load, m.default); set((n) => n + 1) }, () => setFailed(true))
  }, [load])
  const Page = loaded.get(load)
  if (failed) return <Note tone="bad">The page could not be loaded; the server may have been upgraded. <button class="link" onClick={() => location.reload()}>Load the console again</button></Note>
  return Page ? <Page /> : <Loading />
}

/** A page that fails doesn't take the others with it. */
class Guard extends Component<{ children: ComponentChildren }, { error?: Error }> {
  override state: { error?: Error } = {}
  static override getDerivedStateFromError(error: Error) { return { error } }
  override componentDidCatch(error: Error) { console.error(error) }
  render() {
    if (!this.state.error) return this.props.children
    return <Note tone="bad">This page met an error of its own: {this.state.error.message}. <button class="link" onClick={() => this.setState({ error: undefined as never })}>Try again</button></Note>
  }
}

const told: Record<live.State, string> = { live: 'Live', connecting: 'Connecting', lost: 'Not live', polling: 'Every 5 s', off: 'Off' }

function LiveState() {
  const s = live.state.value
  return (
    <button class={cx('nav-item', 'live-state', s)} onClick={live.retryNow} title={s === 'polling' ? 'This server offers no live stream; figures are read every few seconds' : s === 'live' ? 'Figures are updated once a second' : 'Try again now'}>
      <span class="live-dot" /><span>{told[s]}</span>
    </button>
  )
}

function Lost() {
  if (live.state.value !== 'lost') return null
  const wait = Math.max(0, Math.round((live.retryAt.value - live.now.value) / 1000))
  return <div class="lost" role="status"><Icon name="warn" size={16} /><span>Not live: the server does not answer. What you see is of {live.stats.value ? <>{span(Math.max(1, (Date.now() - Date.parse(live.stats.value.at)) / 1000))} ago</> : 'before'}. Trying again{wait ? ` in ${wait} s` : ''}.</span><button class="link" onClick={live.retryNow}>Try now</button></div>
}

function Pulse() {
  const s = live.stats.value
  if (!s) return null
  return (
    <div class="pulse" aria-label="Now">
      <a href={to('clients', [], { filter: 'connected:true' })}><b>{num(s.clients.connected)}</b> online</a>
      <a href={to('topics', ['top'])}><b>{num(Math.round(s.rates?.in_messages ?? 0))}</b>/s in</a>
      <a href={to('clients', [], { sort: '-out.rate' })}><b>{num(Math.round(s.rates?.out_messages ?? 0))}</b>/s out</a>
      {(s.rates?.drops ?? 0) > 0 && <a href={to('events', [], { kind: 'dropped' })}><Badge tone="warn">{num(Math.round(s.rates!.drops!))}/s dropped</Badge></a>}
    </div>
  )
}

function Help({ close }: { close: () => void }) {
  const keys: [string[], string][] = [[['/'], 'Search clients, topics and pages'], [['f'], 'Into the filter of the page'], [['?'], 'This list'], [['Esc'], 'Close what is open'],
    ...pages.map((p): [string[], string] => [['g', p.key], p.title])]
  return (
    <Dialog title="Keyboard" close={close}>
      <table class="keys"><tbody>{keys.map(([k, what]) => <tr key={what}><th scope="row">{k.map((x) => <kbd key={x}>{x}</kbd>)}</th><td>{what}</td></tr>)}</tbody></table>
      <h3>Filters of lists</h3>
      <p class="faint">Terms stand side by side and all must hold: <code>field:value</code> (<code>*</code> for any characters), <code>field&gt;100</code>, <code>!term</code>; numbers take k, M, Ki, Mi, times 5m, 2h; a word alone is part of the id, user, address or topic; quotes hold spaces together.</p>
    </Dialog>
  )
}
