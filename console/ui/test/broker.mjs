// The real broker for tests: built from the sources, or what BROKER names, on free ports and in a directory of its own; and clients for it.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const password = 'a long password for tests'

/** A broker that runs: where it is, how to ask its API, and how to end it. */
export async function broker({ config = '' } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'sapwood-real-'))
  let binary = process.env.BROKER
  if (!binary) execFileSync('go', ['build', '-o', (binary = join(dir, 'sapwood')), './cmd/sapwood'], { cwd: new URL('../../..', import.meta.url), stdio: 'inherit' })
  const file = join(dir, 'sapwood.yaml')
  writeFileSync(file, `data: ${join(dir, 'data')}\n${config}`)
  const process_ = spawn(binary, ['serve', '--config', file, '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0', '--json'], { env: { ...process.env, SAPWOOD_ADMIN_PASSWORD: password }, stdio: ['ignore', 'pipe', 'pipe'] })
  const orphan = () => process_.kill('SIGKILL')
  process.once('exit', orphan)
  const log = []
  createInterface({ input: process_.stderr }).on('line', (l) => log.push(l))
  const said = JSON.parse(await new Promise((yes, no) => {
    createInterface({ input: process_.stdout }).once('line', yes)
    process_.once('exit', () => setTimeout(() => no(new Error('the broker ended:\n' + log.join('\n'))), 100))
  }))
  const url = said.http.replace(/\/?$/, '/')
  const port = Number(new URL(said.mqtt[0]).port)
  const basic = 'Basic ' + Buffer.from('admin:' + password).toString('base64')
  /** Asks the API as admin. */
  const api = async (method, path, body) => {
    const r = await fetch(url + 'api/v1' + path, { method, headers: { Authorization: basic, ...(body ? { 'Content-Type': 'application/json' } : {}) }, ...(body ? { body: JSON.stringify(body) } : {}) })
    const text = await r.text()
    if (!r.ok) throw new Error(`${method} ${path}: ${r.status} ${text}`)
    return text ? JSON.parse(text) : undefined
  }
  const close = async () => {
    process.off('exit', orphan)
    process_.kill('SIGTERM')
    await new Promise((done) => (process_.exitCode === null ? process_.once('exit', done) : done()))
    rmSync(dir, { recursive: true, force: true })
  }
  return { url, port, api, close, log, binary, said, dir, pid: process_.pid, password, client: (options) => client(port, options) }
}

const text = (s) => { const b = Buffer.from(s); return Buffer.concat([Buffer.from([b.length >> 8, b.length & 255]), b]) }
const varint = (n) => { const out = []; do { out.push((n & 127) | (n > 127 ? 128 : 0)); n >>= 7 } while (n); return Buffer.from(out) }
const packet = (head, ...parts) => { const body = Buffer.concat(parts); return Buffer.concat([Buffer.from([head]), varint(body.length), body]) }

/** The packets in what came, and how much of it they take. */
function parse(data) {
  const found = []
  let at = 0
  for (;;) {
    let length = 0, shift = 0, i = at + 1
    for (; i < data.length && data[i] & 128; i++, shift += 7) length |= (data[i] & 127) << shift
    if (i >= data.length) break
    length |= data[i] << shift
    if (i + 1 + length > data.length) break
    found.push({ type: data[at] >> 4, flags: data[at] & 15, body: data.subarray(i + 1, i + 1 + length) })
    at = i + 1 + length
  }
  return [found, at]
}

/** A client of MQTT 3.1.1 or 5.0, as small as tests need it: it sees what came in messages, and acknowledges it unless lazy. A v5 client never sends properties, and reads none. */
export function client(port, { id, user, pass, clean = true, keepAlive = 60, will, lazy = false, v5 = false } = {}) {
  const none = v5 ? [Buffer.from([0])] : []
  return new Promise((yes, no) => {
    const socket = connect(port, '127.0.0.1')
    const messages = [], waiting = new Map()
    let rest = Buffer.alloc(0), next = 0
    const ask = (head, name, body) => new Promise((done) => { const n = Buffer.from([++next >> 8, next & 255]); waiting.set(name + next, done); socket.write(packet(head, ...body(n))) })
    const me = {
      id, messages, socket, closed: false,
      publish: (topic, payload, { qos = 0, retain = false } = {}) => qos === 0
        ? socket.write(packet(0x30 | (retain ? 1 : 0), text(topic), ...none, Buffer.from(payload)))
        : ask(0x30 | (qos << 1) | (retain ? 1 : 0), qos === 1 ? 'puback' : 'pubcomp', (n) => [text(topic), n, ...none, Buffer.from(payload)]),
      subscribe: (filter, qos = 0) => ask(0x82, 'suback', (n) => [n, ...none, text(filter), Buffer.from([qos])]),
      end: () => socket.end(Buffer.from([0xe0, 0])),
      vanish: () => socket.destroy(),
    }
    const ping = setInterval(() => { if (!socket.destroyed) socket.write(Buffer.from([0xc0, 0])) }, keepAlive * 500)
    ping.unref()
    socket.on('error', () => {})
    socket.on('close', () => { clearInterval(ping); me.closed = true; no(new Error(`${id} was refused`)) })
    socket.write(packet(0x10, text('MQTT'), Buffer.from([v5 ? 5 : 4, (user ? 0x80 : 0) | (pass ? 0x40 : 0) | (clean ? 2 : 0) | (will ? 4 : 0), keepAlive >> 8, keepAlive & 255]), ...none, text(id), ...(will ? [...none, text(will.topic), text(will.payload)] : []), ...(user ? [text(user)] : []), ...(pass ? [text(pass)] : [])))
    const settle = (name, n, value) => { const k = name + n; waiting.get(k)?.(value); waiting.delete(k) }
    socket.on('data', (came) => {
      const [found, used] = parse(rest = Buffer.concat([rest, came]))
      rest = rest.subarray(used)
      for (const { type, flags, body } of found) {
        const n = body.length >= 2 ? body.readUInt16BE(0) : 0
        if (type === 2) { if (body[1] === 0) yes(me); else no(new Error(`${id} was refused: ${body[1]}`)) }
        else if (type === 3) {
          const qos = (flags >> 1) & 3, end = 2 + n, at = end + (qos ? 2 : 0), topic = body.subarray(2, end).toString()
          messages.push({ topic, qos, retain: !!(flags & 1), payload: body.subarray(v5 ? at + 1 + body[at] : at).toString() })
          if (qos && !lazy) socket.write(packet(qos === 1 ? 0x40 : 0x50, body.subarray(end, end + 2)))
        } else if (type === 4) settle('puback', n)
        else if (type === 5) socket.write(packet(0x62, body.subarray(0, 2)))
        else if (type === 6) socket.write(packet(0x70, body.subarray(0, 2)))
        else if (type === 7) settle('pubcomp', n)
        else if (type === 9) settle('suback', n, body[v5 ? 3 + body[2] : 2])
      }
    })
  })
}
