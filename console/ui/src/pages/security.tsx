// Who may do what, who tried to, and who is kept out; for clients of MQTT and for people who use this console.
import { path, useLoad } from '../api'
import { cli, num, words } from '../format'
import { route, to } from '../route'
import type { Fact, Page } from '../types'
import { Card, Empty, Head, Read, Tabs } from '../ui/basics'
import { FactList } from '../ui/facts'
import { Bans } from './bans'
import { Explain, explanation, Rules } from './rules'
import { Audit, audited, Keys, Operators } from './people'
import { Users } from './users'

const tabs = [
  ['users', 'Users', '/users', 'users list'], ['rules', 'Rules', '/rules', 'rules list'], ['explain', 'Explain', '/acl/explain', ''], ['denials', 'Denials', '/events?kind=denied,refused', 'events --kind=denied,refused'],
  ['bans', 'Bans', '/bans', 'bans'], ['operators', 'Operators', '/operators', 'operators list'], ['keys', 'API keys', '/keys', 'keys list'], ['audit', 'Audit', '/audit', 'audit'],
] as const

export default function Security() {
  const tab = tabs.find((t) => t[0] === (route.value.parts[0] ?? 'users')) ?? tabs[0]
  const views = { users: Users, rules: Rules, explain: Explain, denials: Denials, bans: Bans, operators: Operators, keys: Keys, audit: Audit }
  const View = views[tab[0]]
  return (
    <div class="page">
      <Head title="Security" command={tab[0] === 'explain' ? explanation(route.value.query) : tab[0] === 'audit' ? audited(route.value.query) : { path: tab[2], cli: cli(tab[3]), people: tab[0] === 'operators' || tab[0] === 'keys' }} />
      <Tabs label="Parts of security" active={tab[0]} tabs={tabs.map(([id, title]) => ({ id, title, href: to('security', [id]) }))} />
      <View />
    </div>
  )
}

interface Group { key: string; count: number; client: string; topic: string; text: string }

function Denials() {
  const events = useLoad<Page<Fact>>(path('/events', { kind: 'denied,refused', limit: 500 }), 5000)
  return (
    <Read from={events} what="denials">{(p) => {
      const facts = p.items ?? []
      if (!facts.length) return <Empty icon="security" title="Nobody was denied anything">As far back as events are kept.</Empty>
      const groups = new Map<string, Group>()
      for (const f of facts) {
        const key = `${f.client}\n${f.topic ?? f.reason}`
        const g = groups.get(key) ?? { key, count: 0, client: f.client ?? '', topic: f.topic ?? words(f.reason ?? ''), text: f.text }
        g.count += f.count ?? 1
        groups.set(key, g)
      }
      const top = [...groups.values()].sort((a, b) => b.count - a.count).slice(0, 10)
      const max = top[0]!.count
      return (
        <div class="columns">
          <Card title="Who, and where">
            <ul class="bars">{top.map((g) => <li key={g.key}><a href={g.client ? to('clients', [g.client, 'events'], { kind: 'denied,refused' }) : to('events', [], { kind: 'refused' })} title={g.text}><span class="wrap">{g.client || 'unknown'} <span class="faint">{g.topic}</span></span><b>{num(g.count)}</b><i style={{ width: `${(g.count / max) * 100}%` }} /></a></li>)}</ul>
          </Card>
          <Card title="The latest" extra={<a href={to('events', [], { kind: 'denied,refused' })}>In events</a>}><FactList facts={facts.slice(0, 40)} label="Denials" /></Card>
        </div>
      )
    }}</Read>
  )
}
