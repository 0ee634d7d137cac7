// A small MQTT 5.0 client over WebSocket: what the page needs, and nothing else. Numbers in comments are of the specification.

export interface Properties {
  expiry?: number; contentType?: string; responseTopic?: string; correlation?: string; alias?: number; subscriptionIds?: number[]
  reason?: string; user?: [string, string][]; assignedId?: string; receiveMaximum?: number; maximumQoS?: number; retainAvailable?: boolean
  topicAliasMaximum?: number; serverKeepAlive?: number; sessionExpiry?: number; maximumPacketSize?: number; format?: number; server?: string
}

export interface Received { topic: string; payload: Uint8Array; qos: number; retain: boolean; dup: boolean; properties: Properties }

export interface ConnectOptions { url: string; clientId: string; user?: string; password?: string; cleanStart: boolean; sessionExpiry: number; keepAlive: number; will?: { topic: string; payload: string; qos: number; retain: boolean } }

const utf8 = new TextEncoder()
const text = new TextDecoder()

class Writer {
  private out: number[] = []
  byte(n: number) { this.out.push(n & 255); return this }
  u16(n: number) { return this.byte(n >> 8).byte(n) }
  u32(n: number) { return this.u16(n >>> 16).u16(n & 65535) }
  bytes(b: Uint8Array) { for (const x of b) this.out.push(x); return this }
  binary(b: Uint8Array) { return this.u16(b.length).bytes(b) }
  string(s: string) { return this.binary(utf8.encode(s)) }
  /** Variable Byte Integer, 1.5.5. */
  length(n: number) { do { const b = n & 127; n >>>= 7; this.byte(n ? b | 128 : b) } while (n); return this }
  get done() { return Uint8Array.from(this.out) }
}

class Reader {
  private at = 0
  private b: Uint8Array
  constructor(b: Uint8Array) { this.b = b }
  get left() { return this.b.length - this.at }
  byte() { if (this.at >= this.b.length) throw new Error('a packet ends too early'); return this.b[this.at++]! }
  u16() { return this.byte() * 256 + this.byte() }
  u32() { return this.u16() * 65536 + this.u16() }
  take(n: number) { if (n > this.left) throw new Error('a packet ends too early'); return this.b.subarray(this.at, (this.at += n)) }
  string() { return text.decode(this.take(this.u16())) }
  length() { let n = 0, m = 1, b; do { b = this.byte(); n += (b & 127) * m; m *= 128 } while (b & 128); return n }
}

/** Properties, 2.2.2.2; which ids there are and how each is encoded. */
function readProperties(r: Reader): Properties {
  const p: Properties = {}
  const from = new Reader(r.take(r.length()))
  while (from.left) {
    const id = from.byte()
    switch (id) {
      case 0x01: p.format = from.byte(); break
      case 0x02: p.expiry = from.u32(); break
      case 0x03: p.contentType = from.string(); break
      case 0x08: p.responseTopic = from.string(); break
      case 0x09: p.correlation = text.decode(from.take(from.u16())); break
      case 0x0b: (p.subscriptionIds ??= []).push(from.length()); break
      case 0x11: p.sessionExpiry = from.u32(); break
      case 0x12: p.assignedId = from.string(); break
      case 0x13: p.serverKeepAlive = from.u16(); break
      case 0x1c: p.server = from.string(); break
      case 0x1f: p.reason = from.string(); break
      case 0x21: p.receiveMaximum = from.u16(); break
      case 0x22: p.topicAliasMaximum = from.u16(); break
      case 0x23: p.alias = from.u16(); break
      case 0x24: p.maximumQoS = from.byte(); break
      case 0x25: p.retainAvailable = from.byte() === 1; break
      case 0x26: (p.user ??= []).push([from.string(), from.string()]); break
      case 0x27: p.maximumPacketSize = from.u32(); break
      case 0x17: case 0x19: case 0x28: case 0x29: case 0x2a: from.byte(); break
      case 0x15: case 0x1a: from.string(); break
      case 0x16: from.take(from.u16()); break
      default: throw new Error(`a property is 0x${id.toString(16)}, which there is not`)
    }
  }
  return p
}

function publishProperties(p: Properties): Uint8Array {
  const w = new Writer()
  if (p.format !== undefined) w.byte(0x01).byte(p.format)
  if (p.expiry !== undefined) w.byte(0x02).u32(p.expiry)
  if (p.contentType) w.byte(0x03).string(p.contentType)
  if (p.responseTopic) w.byte(0x08).string(p.responseTopic)
  if (p.correlation) w.byte(0x09).string(p.correlation)
  for (const [k, v] of p.user ?? []) w.byte(0x26).string(k).string(v)
  return w.done
}

const packet = (first: number, body: Uint8Array) => new Writer().byte(first).length(body.length).bytes(body).done

const reasons: Record<number, string> = {
  0x00: 'success', 0x01: 'granted QoS 1', 0x02: 'granted QoS 2', 0x04: 'disconnected with the will', 0x10: 'no matching subscribers', 0x11: 'no subscription existed', 0x80: 'unspecified error', 0x81: 'malformed packet',
  0x82: 'protocol error', 0x83: 'implementation specific error', 0x84: 'unsupported protocol version', 0x85: 'client identifier not valid', 0x86: 'bad user name or password', 0x87: 'not authorized', 0x88: 'server unavailable',
  0x89: 'server busy', 0x8a: 'banned', 0x8b: 'server shutting down', 0x8d: 'keep alive timeout', 0x8e: 'session taken over', 0x8f: 'topic filter invalid', 0x90: 'topic name invalid', 0x91: 'packet identifier in use',
  0x93: 'receive maximum exceeded', 0x94: 'topic alias invalid', 0x95: 'packet too large', 0x96: 'message rate too high', 0x97: 'quota exceeded', 0x98: 'administrative action', 0x99: 'payload format invalid',
  0x9a: 'retain not supported', 0x9b: 'QoS not supported', 0x9e: 'shared subscriptions not supported', 0x9f: 'connection rate exceeded', 0xa2: 'wildcard subscriptions not supported',
}
export const reason = (code: number) => `${reasons[code] ?? 'reason'} (0x${code.toString(16).padStart(2, '0')})`

interface Waiting { resolve: (v: { codes: number[]; properties: Properties }) => void; reject: (e: Error) => void }

export class Client {
  onMessage: (m: Received) => void = () => {}
  onClose: (why: string) => void = () => {}
  private socket: WebSocket
  private buffer: Uint8Array = new Uint8Array(0)
  private next = 1
  private waiting = new Map<number, Waiting>()
  private second = new Map<number, Received>()
  private aliases = new Map<number, string>()
  private timer = 0
  private over = false
  private connected: Waiting | undefined

  constructor(socket: WebSocket) { this.socket = socket }

  static connect(o: ConnectOptions): Promise<{ client: Client; present: boolean; properties: Properties }> {
    const socket = new WebSocket(o.url, 'mqtt')
    socket.binaryType = 'arraybuffer'
    const c = new Client(socket)
    return new Promise((resolve, reject) => {
      c.connected = { resolve: ({ codes, properties }) => resolve({ client: c, present: codes[0] === 1, properties }), reject }
      socket.onopen = () => c.send(c.hello(o))
      socket.onmessage = (e) => c.got(new Uint8Array(e.data as ArrayBuffer))
      socket.onclose = (e) => c.end(e.reason || (c.connected ? 'the server did not take the connection' : 'the connection was closed'))
      setTimeout(() => { if (c.connected) c.end('the server did not answer') }, 10_000)
    })
  }

  private hello(o: ConnectOptions): Uint8Array {
    const w = o.will
    const flags = (o.cleanStart ? 2 : 0) | (w ? 4 | (w.qos << 3) | (w.retain ? 32 : 0) : 0) | (o.password ? 64 : 0) | (o.user ? 128 : 0)
    const props = new Writer()
    if (o.sessionExpiry) props.byte(0x11).u32(o.sessionExpiry)
    props.byte(0x22).u16(100)
    const b = new Writer().string('MQTT').byte(5).byte(flags).u16(o.keepAlive).length(props.done.length).bytes(props.done).string(o.clientId)
    if (w) b.length(0).string(w.topic).binary(utf8.encode(w.payload))
    if (o.user) b.string(o.user)
    if (o.password) b.string(o.password)
    this.keep(o.keepAlive)
    return packet(0x10, b.done)
  }

  private keep(seconds: number) {
    clearInterval(this.timer)
    if (seconds) this.timer = window.setInterval(() => this.send(packet(0xc0, new Uint8Array(0))), Math.max(1, seconds * 0.7) * 1000)
  }

  private send(b: Uint8Array) { if (this.socket.readyState === WebSocket.OPEN) this.socket.send(b as Uint8Array<ArrayBuffer>) }

  private id() {
    do { this.next = (this.next % 65535) + 1 } while (this.waiting.has(this.next))
    return this.next
  }

  private ask(id: number, b: Uint8Array) {
    if (this.over) return Promise.reject(new Error('not connected'))
    return new Promise<{ codes: number[]; properties: Properties }>((resolve, reject) => { this.waiting.set(id, { resolve, reject }); this.send(b) })
  }

  async publish(topic: string, payload: Uint8Array, qos: number, retain: boolean, properties: Properties): Promise<number> {
    const props = publishProperties(properties)
    const b = new Writer().string(topic)
    const id = qos ? this.id() : 0
    if (qos) b.u16(id)
    b.length(props.length).bytes(props).bytes(payload)
    const whole = packet(0x30 | (qos << 1) | (retain ? 1 : 0), b.done)
    if (!qos) { this.send(whole); return 0 }
    return (await this.ask(id, whole)).codes[0] ?? 0
  }

  async subscribe(filter: string, qos: number, options: { noLocal?: boolean; asPublished?: boolean; handling?: number } = {}): Promise<{ code: number; reason?: string }> {
    const id = this.id()
    const o = qos | (options.noLocal ? 4 : 0) | (options.asPublished ? 8 : 0) | ((options.handling ?? 0) << 4)
    const r = await this.ask(id, packet(0x82, new Writer().u16(id).length(0).string(filter).byte(o).done))
    return { code: r.codes[0] ?? 0x80, ...(r.properties.reason ? { reason: r.properties.reason } : {}) }
  }

  async unsubscribe(filter: string): Promise<number> {
    const id = this.id()
    return (await this.ask(id, packet(0xa2, new Writer().u16(id).length(0).string(filter).done))).codes[0] ?? 0
  }

  disconnect(withWill = false) { this.send(packet(0xe0, Uint8Array.from(withWill ? [0x04, 0] : [0, 0]))); this.end('disconnected') }

  private end(why: string) {
    if (this.over) return
    this.over = true
    clearInterval(this.timer)
    this.connected?.reject(new Error(why))
    const was = this.connected
    this.connected = undefined
    for (const w of this.waiting.values()) w.reject(new Error(why))
    this.waiting.clear()
    this.socket.close()
    if (!was) this.onClose(why)
  }

  private got(part: Uint8Array) {
    const all = new Uint8Array(this.buffer.length + part.length)
    all.set(this.buffer)
    all.set(part, this.buffer.length)
    let at = 0
    try {
      while (all.length - at >= 2) {
        let n = 0, m = 1, i = at + 1
        for (;;) {
          if (i >= all.length) { this.buffer = all.slice(at); return }
          const b = all[i++]!
          n += (b & 127) * m
          m *= 128
          if (!(b & 128)) break
          if (m > 128 ** 3) throw new Error('a packet has no length')
        }
        if (i + n > all.length) break
        this.take(all[at]!, new Reader(all.subarray(i, i + n)))
        at = i + n
      }
    } catch (e) { this.end((e as Error).message); return }
    this.buffer = all.slice(at)
  }

  private take(first: number, r: Reader) {
    switch (first >> 4) {
      case 2: { // CONNACK
        const present = r.byte() & 1, code = r.byte(), properties = readProperties(r)
        if (code >= 0x80) { this.end(`${reason(code)}${properties.reason ? ': ' + properties.reason : ''}`); return }
        if (properties.serverKeepAlive !== undefined) this.keep(properties.serverKeepAlive)
        this.connected?.resolve({ codes: [present], properties })
        this.connected = undefined
        break
      }
      case 3: this.message(first, r); break
      case 4: case 7: { // PUBACK, PUBCOMP
        const id = r.u16(), code = r.left ? r.byte() : 0, properties = r.left ? readProperties(r) : {}
        this.answer(id, [code], properties)
        break
      }
      case 5: { // PUBREC
        const id = r.u16(), code = r.left ? r.byte() : 0
        if (code >= 0x80) this.answer(id, [code], r.left ? readProperties(r) : {})
        else this.send(packet(0x62, new Writer().u16(id).done))
        break
      }
      case 6: { // PUBREL
        const id = r.u16(), m = this.second.get(id)
        this.second.delete(id)
        if (m) this.onMessage(m)
        this.send(packet(0x70, new Writer().u16(id).done))
        break
      }
      case 9: case 11: { // SUBACK, UNSUBACK
        const id = r.u16(), properties = readProperties(r)
        this.answer(id, [...r.take(r.left)], properties)
        break
      }
      case 13: break // PINGRESP
      case 14: { // DISCONNECT
        const code = r.left ? r.byte() : 0, properties = r.left ? readProperties(r) : {}
        this.end(`the server disconnected: ${reason(code)}${properties.reason ? ': ' + properties.reason : ''}`)
        break
      }
      default: throw new Error(`a packet of type ${first >> 4} came`)
    }
  }

  private answer(id: number, codes: number[], properties: Properties) {
    this.waiting.get(id)?.resolve({ codes, properties })
    this.waiting.delete(id)
  }

  private message(first: number, r: Reader) {
    const qos = (first >> 1) & 3
    let topic = r.string()
    const id = qos ? r.u16() : 0
    const properties = readProperties(r)
    if (properties.alias) { if (topic) this.aliases.set(properties.alias, topic); else topic = this.aliases.get(properties.alias) ?? '' }
    const m: Received = { topic, payload: r.take(r.left).slice(), qos, retain: (first & 1) === 1, dup: (first & 8) === 8, properties }
    if (qos === 2) { this.second.set(id, m); this.send(packet(0x50, new Writer().u16(id).done)); return }
    if (qos === 1) this.send(packet(0x40, new Writer().u16(id).done))
    this.onMessage(m)
  }
}
