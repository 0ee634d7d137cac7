// The pages there are, in the order of the navigation. Each is loaded when it is first opened.
import type { ComponentType } from 'preact'
import type { IconName } from './ui/icons'

export interface PageEntry { id: string; title: string; icon: IconName; key: string; words: string; load: () => Promise<{ default: ComponentType }> }

export const pages: PageEntry[] = [
  { id: 'now', title: 'Now', icon: 'now', key: 'n', words: 'home overview health status problems', load: () => import('./pages/now') },
  { id: 'clients', title: 'Clients', icon: 'clients', key: 'c', words: 'sessions devices connections sockets', load: () => import('./pages/clients') },
  { id: 'topics', title: 'Topics', icon: 'topics', key: 't', words: 'tree messages heavy hitters unheard unfed', load: () => import('./pages/topics') },
  { id: 'retained', title: 'Retained', icon: 'retained', key: 'r', words: 'last messages snapshots undo', load: () => import('./pages/retained') },
  { id: 'events', title: 'Events', icon: 'events', key: 'e', words: 'facts timeline history log drops denials', load: () => import('./pages/events') },
  { id: 'ask', title: 'Ask', icon: 'ask', key: 'a', words: 'why not route recipients who gets missed message explain', load: () => import('./pages/ask') },
  { id: 'trace', title: 'Trace', icon: 'trace', key: 'x', words: 'packets capture pcap wireshark', load: () => import('./pages/trace') },
  { id: 'broker', title: 'Broker', icon: 'broker', key: 'b', words: 'load cpu memory listeners store configuration config books', load: () => import('./pages/broker') },
  { id: 'security', title: 'Security', icon: 'security', key: 's', words: 'users rules acl explain bans denials operators keys audit', load: () => import('./pages/security') },
  { id: 'mqtt', title: 'MQTT client', icon: 'mqtt', key: 'm', words: 'publish subscribe websocket test', load: () => import('./pages/mqtt') },
]
