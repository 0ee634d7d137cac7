// Every setting, what it is, where that comes from, and what a reload would change.
import { useMemo } from 'preact/hooks'
import { can, get, post, useLoad } from '../api'
import { cli } from '../format'
import { requery, route } from '../route'
import type { ConfigCheck, Setting } from '../types'
import { Ago, Badge, Button, Empty, Note, Read } from '../ui/basics'
import { ask } from '../ui/dialog'
import { Filter } from '../ui/filter'

function Changes({ check }: { check: ConfigCheck }) {
  return (
    <>
      {check.problems?.map((p) => <Note key={p.text} tone="bad">{p.text}</Note>)}
      {check.warnings?.map((w) => <Note key={w} tone="warn">{w}</Note>)}
      {check.changes?.length ? <ul class="form">{check.changes.map((c) => <li key={c.key}><code>{c.key}</code> {c.secret ? 'changes (not shown)' : <><code class="removed">{c.old ?? ''}</code> → <code class="added">{c.new ?? ''}</code></>} <span class="faint">{c.from}</span> {c.restart && <Badge tone="warn">after a restart</Badge>}</li>)}</ul> : !check.problems?.length && <p>Nothing differs from what holds now.</p>}
    </>
  )
}

async function reload(done: () => void) {
  let check: ConfigCheck | undefined, error = ''
  try { check = await get<ConfigCheck>('/config/check') } catch (e) { error = (e as Error).message }
  ask({
    title: 'Read the configuration again', confirm: 'Apply', done, ready: () => !!check?.ok,
    effect: check ? <Changes check={check} /> : <Note tone="bad">What would change could not be found out: {error}</Note>,
    command: () => ({ method: 'POST', path: '/config/reload', cli: cli('config reload') }),
    run: async () => { const r = await post<ConfigCheck>('/config/reload'); if (!r.ok) throw new Error(r.problems?.[0]?.text ?? 'nothing was changed'); return `${r.changes?.length ?? 0} settings changed` },
  })
}

export function Config() {
  const settings = useLoad<Setting[]>('/config')
  const q = route.value.query
  const filter = (q.get('filter') ?? '').toLowerCase(), which = q.get('which') ?? 'set'
  const shown = useMemo(() => (settings.data ?? []).filter((s) => (which === 'all' || (which === 'pending' ? s.pending !== undefined && s.pending !== '' : s.from !== 'default')) && (!filter || `${s.key} ${s.value} ${s.doc} ${s.from}`.toLowerCase().includes(filter))), [settings.data, filter, which])
  return (
    <>
      <div class="toolbar">
        <Filter value={q.get('filter') ?? ''} onChange={(v) => requery({ filter: v })} label="Filter settings" placeholder="name, value or words" />
        <div class="seg" role="group" aria-label="Which">{[['set', 'Set'], ['all', 'All'], ['pending', 'Wait for a restart']].map(([id, t]) => <button key={id} aria-pressed={which === id} onClick={() => requery({ which: id === 'set' ? undefined : id! })}>{t}</button>)}</div>
        <span class="grow" />
        {can('admin') && <Button icon="refresh" onClick={() => void reload(settings.reload)}>Reload…</Button>}
      </div>
      <Read from={settings} what="the configuration">{() => shown.length ? (
        <div class="card settings" style={{ padding: '0' }}>{shown.map((s) => (
          <div key={s.key} class="setting">
            <div><span class="setting-key">{s.key}</span>{s.restart && <> <Badge title="A change needs a restart">restart</Badge></>}<p class="setting-doc">{s.doc}{s.exceeded && <> At the limit: {s.exceeded}.</>}</p></div>
            <div>
              <span class="setting-value">{s.value === '' ? <span class="faint">empty</span> : s.value}{s.unit && <span class="faint"> {s.unit}</span>}</span>
              {s.pending !== undefined && s.pending !== '' && <> <Badge tone="warn">{s.pending} after a restart</Badge></>}
              <p class="setting-from">from {s.from}{s.from !== 'default' && !s.secret && <>, by default {s.default === '' ? 'empty' : <code>{s.default}</code>}</>}{s.since && <>, for <Ago at={s.since} />{s.by ? ` by ${s.by}` : ''}</>}</p>
            </div>
          </div>
        ))}</div>
      ) : <Empty icon="filter" title={which === 'pending' ? 'Nothing waits for a restart' : which === 'set' && !filter ? 'Everything is as by default' : 'No setting matches'} />}</Read>
    </>
  )
}
