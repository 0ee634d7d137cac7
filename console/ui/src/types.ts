// What the API sends and takes. Fields that a server may not know yet are optional.

export type Role = 'viewer' | 'operator' | 'admin'

export interface Me { user: string; kind?: string; role: Role; scopes?: string[] | null; csrf?: string; version?: string; password_change_needed?: boolean; confirm_needed?: boolean }

export interface Page<T> { items: T[] | null; total?: number; matched?: number; next?: string; age_seconds?: number }

export interface Flow { messages: number; bytes: number; rate: number }

export interface Client {
  id: string; user?: string; groups?: string[]; address?: string; listener?: string; protocol?: string; tls?: boolean
  connected: boolean; since?: string; seen?: string; keep_alive_seconds?: number; session_expiry_seconds?: number; clean_start?: boolean
  subscriptions?: number; resting?: number; inflight?: number; queued?: number; queue_bytes?: number
  in?: Flow; out?: Flow; dropped?: number; denied?: number; quarantined?: boolean; pending_bytes?: number; software?: string; gone?: boolean
}

export interface Subscription {
  filter: string; qos: number; no_local?: boolean; retain_as_published?: boolean; retain_handling?: number; id?: number; resting?: boolean; group?: string
  client?: string
}

export interface ClientDetail extends Client {
  filters?: Subscription[] | null
  limits?: { name: string; used: number; limit: number }[] | null
  will?: { topic: string; qos: number; retain: boolean; delay_seconds: number; size: number } | null
  dropped_by?: Record<string, number>
  qos?: { in: number[]; out: number[] }
}

export interface Inflight { direction: 'in' | 'out'; packet_id: number; qos: number; state: string; topic: string; size: number; age_seconds: number }

export interface Payload { size: number; encoding: string; text: string; truncated?: boolean }

export interface Queued { position: number; topic: string; qos: number; size?: number; publisher?: string; expires?: string; payload?: Payload }

export interface Topic {
  name?: string; topic: string; branch?: boolean; children?: number; topics?: number
  messages: number; bytes: number; copies?: number; rate?: number; rate1?: number; rate5?: number; rate15?: number
  dropped?: number; denied?: number; unheard?: number; retained?: boolean | number; max_size?: number
  last?: { at: string; publisher?: string; size?: number; qos?: number; retain?: boolean }
}

export interface TopicDetail extends Topic {
  payload?: Payload
  subscribers?: { client: string; filter: string; qos: number; group?: string }[] | null
  qos?: number[]
  dropped_by?: Record<string, number>
  denied_by?: Record<string, number>
}

export interface Retained { topic: string; size: number; qos: number; publisher?: string; at?: string; expires?: string; payload?: Payload }

export interface RetainedEffect { matched: number; bytes: number; sample?: (string | Retained)[] | null; deleted?: number; snapshot?: Snapshot }

export interface Snapshot { id: string; at: string; by?: string; messages?: number; matched?: number; bytes?: number; filter?: string }

export interface Fact {
  id: number; at: string; kind: string; client?: string; user?: string; address?: string; listener?: string; topic?: string
  reason?: string; code?: number; count?: number; text: string; detail?: Record<string, string>
}

export interface Why { verdict: string; text: string; since?: string; evidence?: Fact[] | null; suggestions?: string[] | null }

export interface Trace {
  id: string; client?: string; topic?: string; address?: string; began?: string; ends?: string; running?: boolean; payload_bytes?: number; by?: string
  packets?: number; kept?: number; missed?: number
}

export interface TraceLine {
  at: string; client?: string; address?: string; direction?: 'in' | 'out'; type: string; id?: number; qos?: number; retain?: boolean; dup?: boolean
  topic?: string; size?: number; reason?: string; code?: number; count?: number; until?: string; text?: string; payload?: Payload | string
}

export interface Traffic { packets?: number; bytes?: number; messages?: number; message_bytes?: number }

export interface Stats {
  at: string; uptime_seconds: number
  clients: { connected: number; sessions: number; maximum?: number }
  subscriptions?: number
  retained?: { messages: number; bytes: number }
  queued?: { messages: number; bytes: number }
  in?: Traffic; out?: Traffic
  rates?: { in_messages?: number; out_messages?: number; in_bytes?: number; out_bytes?: number; connects?: number; drops?: number }
  dropped?: Record<string, number>; denied?: number; refused?: Record<string, number>; violations?: Record<string, number>
  connects?: number; disconnects?: number; takeovers?: number
}

export interface Load {
  at?: string
  cpu?: number; cores?: number
  memory?: { rss?: number; heap?: number; limit?: number }
  gc?: { pause_p99_seconds?: number; cpu?: number }
  loop_lag_seconds?: { p50?: number; p99?: number }
  fds?: { open?: number; limit?: number }
  store?: { commit_p99_seconds?: number; queue?: number }
  disk?: { bytes?: number; free?: number }
  goroutines?: number
  listeners?: { name: string; url?: string; connections?: number }[] | null
  headroom?: Headroom
}

/** How much is used of what there is: a share from 0 to 1, or both figures. */
export type Headroom = Record<string, number | { used?: number; limit?: number; share?: number; text?: string } | string>

export interface NowReport {
  ok: boolean; text: string
  problems?: { severity: string; text: string; link?: string }[] | null
  clients?: { connected: number; normal?: number; sessions?: number }
  rates?: Stats['rates']
  dropped_last_hour?: Record<string, number>
  headroom?: Headroom
  changes?: Fact[] | null
}

export interface History { step_seconds: number; series: { metric: string; labels?: Record<string, string>; points: [number, number | null][] | null }[] | null }

export interface Listener {
  name: string; url: string; connections: number; handshaking: number; waiting_for_handshake: number; addresses?: number
  authentication?: string[] | null; turned_away?: Record<string, number>; warning?: string
  tls?: { certificates?: { subject: string; issuer: string; not_after: string; days_left: number; names?: string[] }[] | null; warnings?: string[] | null; reload_error?: string }
}

export interface Setting {
  key: string; value: string; default: string; from: string; doc: string; env?: string; type: string; unit?: string; one_of?: string[] | null
  since?: string; by?: string; pending?: string; restart?: boolean; secret?: boolean; exceeded?: string
}

export interface ConfigCheck {
  ok: boolean
  changes?: { key: string; kind: string; old?: string; new?: string; from: string; restart?: boolean; secret?: boolean }[] | null
  problems?: { key?: string; line?: number; text: string }[] | null
  warnings?: string[] | null
}

export interface Overview {
  version: string; started: string; uptime_seconds: number; ready: boolean; reason?: string; durability: string; promise: string
  counts: Record<string, number>; overload: { shed: string; why?: string }; warnings?: string[] | null
  store?: { bytes: number; live_bytes: number; free_bytes: number; health: string; dir: string; damaged: number }
}

export interface StoreStatus {
  dir: string; durability: string; health: string; bytes: number; live_bytes: number; free_bytes: number; damaged: number; checkpoint: string
  tail_bytes: number; unsynced_ns: number
  commits: { batches: number; groups: number; records: number; bytes: number; failed: number; sync_p50_ns: number; sync_p99_ns: number; sync_max_ns: number }
  segments: { number: number; kind: string; bytes: number; live_bytes: number }[] | null
  start: { took_ns: number; replayed_records: number; replayed_bytes: number; cut_bytes: number; quarantined_bytes: number }
}

export interface User {
  name: string; kind: string; groups?: string[] | null; client_id?: string; disabled?: boolean; expires?: string; note?: string; has_password?: boolean
  created?: string; changed?: string; revision?: number; secret?: string
}

export interface Rule {
  id: string; name?: string; note?: string; priority?: number; topics: string[]; allow?: string[] | null; deny?: string[] | null; users?: string[] | null
  clients?: string[] | null; groups?: string[] | null; listeners?: string[] | null; addresses?: string[] | null; common_names?: string[] | null
  claims?: string[] | null; qos?: number[] | null; retain?: string; revision?: number; changed?: string
}

export interface Explained { allowed: boolean; rule?: string; why: string; client: { client_id?: string; user?: string; known?: boolean; groups?: string[] } }

export interface Ban { subject: string; value: string; reason?: string; by?: string; until?: string; quarantine?: boolean }

export interface Operator { name: string; role: Role; created?: string; disabled?: boolean; sessions?: number; password_change_needed?: boolean }

export interface Key { id: string; name?: string; scopes?: string[] | null; role?: Role; created?: string; expires?: string; used?: string; by?: string; key?: string; secret?: string }

export interface AuditEntry {
  id?: number | string; at: string; who?: string; by?: string; user?: string; action?: string; method?: string; path?: string; what?: string; object?: string
  address?: string; from?: string; status?: number; before?: unknown; after?: unknown; text?: string
}

export interface BooksLine { name: string; side?: 'in' | 'out' | 'stock' | 'beside'; of?: 'messages' | 'copies'; count: number; text?: string }

export interface Books {
  balanced: boolean; imbalance: number; checked?: string; since?: string
  lines?: BooksLine[] | null
  by_reason?: Record<string, number>
  clients?: unknown
}

export interface Recipient { client: string; user?: string; filter: string; group?: string; members?: number; qos: number; connected: boolean; outcome: string; waiting: number; rule?: string; why?: string }

export interface Route { topic: string; receive: number; items: Recipient[] | null; outcomes?: Record<string, number> }

export interface CanaryFigures {
  qos: number; sent: number; delivered: number; lost: number; late: number; last_seconds: number; sum_seconds: number; p50_seconds: number; p99_seconds: number
  histogram: { up_to_seconds?: number; count: number }[] | null; hour_ratio: number; day_ratio: number
}

export interface Canaries {
  interval_seconds: number; timeout_seconds: number; since?: string; delivers: boolean; day_ratio: number; text: string; objective?: number; objective_met?: boolean
  canaries: CanaryFigures[] | null; outages: { from: string; to?: string; qos: number[]; lost: number; why: string }[] | null
}

export interface BulkDone { matched: number; done: number; gone: number; sample?: string[] | null; seconds: number }
