// The broker itself: its load over time, whether it delivers, where clients come in, what it keeps on disk, how it is configured, its books.
import { path } from '../api'
import { cli } from '../format'
import { route, to } from '../route'
import { Head, Tabs } from '../ui/basics'
import { Books } from './books'
import { Config } from './config'
import { Delivery } from './delivery'
import { LoadCharts } from './load'
import { Listeners, Store } from './store'

const tabs = [['load', 'Load', '/load', 'top'], ['delivery', 'Delivery', '/canaries', 'canaries'], ['listeners', 'Listeners', '/listeners', 'listeners'], ['store', 'Store', '/store', 'store stats'], ['config', 'Configuration', '/config', 'config explain'], ['books', 'Books', '/books', 'books']] as const

export default function Broker() {
  const tab = tabs.find((t) => t[0] === (route.value.parts[0] ?? 'load')) ?? tabs[0]
  return (
    <div class="page">
      <Head title="Broker" command={{ path: path(tab[2]), cli: cli(tab[3]) }} />
      <Tabs label="Parts of the broker" active={tab[0]} tabs={tabs.map(([id, title]) => ({ id, title, href: to('broker', [id]) }))} />
      {tab[0] === 'load' ? <LoadCharts /> : tab[0] === 'delivery' ? <Delivery /> : tab[0] === 'listeners' ? <Listeners /> : tab[0] === 'store' ? <Store /> : tab[0] === 'config' ? <Config /> : <Books />}
    </div>
  )
}
