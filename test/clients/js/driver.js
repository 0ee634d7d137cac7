// Holds mqtt.js clients and does what mqttjs_test.go says: one JSON command a line on standard
// input, one JSON answer ({"re": number of the command}) or message ({"c": client}) a line on
// standard output.
'use strict'
const mqtt = require('mqtt')
const fs = require('node:fs')
const readline = require('node:readline')

const clients = new Map()
const say = (o) => process.stdout.write(JSON.stringify(o) + '\n')

// outgoing turns a message's properties into those of mqtt.js, which wants none before MQTT 5.
function outgoing (m, version) {
  if (version !== 5) return undefined
  const p = {}
  if (m.user) p.userProperties = m.user
  if (m.contentType) p.contentType = m.contentType
  if (m.response) p.responseTopic = m.response
  if (m.correlation) p.correlationData = Buffer.from(m.correlation)
  if (m.expiry) p.messageExpiryInterval = m.expiry
  if (m.text) p.payloadFormatIndicator = true
  if (m.alias) p.topicAlias = m.alias
  return p
}

function incoming (topic, payload, packet) {
  const p = packet.properties || {}
  const m = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain }
  if (p.userProperties) {
    m.user = {}
    for (const [k, v] of Object.entries(p.userProperties)) m.user[k] = [].concat(v)
  }
  if (p.contentType) m.contentType = p.contentType
  if (p.responseTopic) m.response = p.responseTopic
  if (p.correlationData) m.correlation = p.correlationData.toString()
  if (p.messageExpiryInterval) m.expiry = p.messageExpiryInterval
  if (p.payloadFormatIndicator) m.text = true
  if (p.topicAlias) m.alias = p.topicAlias
  return m
}

const commands = {
  connect ({ c, version, url, ca, user, password, id, keep, reconnect, will, aliases }, answer) {
    const options = {
      ca: fs.readFileSync(ca),
      username: user,
      password,
      clientId: id,
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      protocolVersion: version,
      clean: !keep,
      reconnectPeriod: reconnect ? 20 : 0,
      connectTimeout: 60000,
      resubscribe: false,
      autoUseTopicAlias: true
    }
    if (version === 5) options.properties = { sessionExpiryInterval: keep ? 300 : 0, topicAliasMaximum: aliases }
    if (will) options.will = will
    const client = mqtt.connect(url, options)
    client.version = version
    client.reasons = new Map() // the callback of publish does not tell a reason that is no error
    client.on('packetreceive', (p) => {
      if (p.cmd === 'puback' || p.cmd === 'pubrec') client.reasons.set(p.messageId, p.reasonCode)
    })
    clients.set(c, client)
    client.once('connect', (ack) => answer({ present: ack.sessionPresent }))
    client.on('error', (err) => answer({ error: err.message }))
    client.on('message', (topic, payload, packet) => say({ c, message: incoming(topic, payload, packet) }))
    client.on('disconnect', (packet) => say({ c, disconnect: packet.reasonCode }))
  },
  subscribe ({ c, filter, qos }, answer) {
    clients.get(c).subscribe(filter, { qos }, (err, granted, packet) => {
      const code = packet?.granted?.[0] ?? granted?.[0]?.qos
      answer(code === undefined ? { error: String(err?.message) } : { code })
    })
  },
  unsubscribe ({ c, filter }, answer) {
    clients.get(c).unsubscribe(filter, (err) => answer({ error: err?.message }))
  },
  publish ({ c, message: m }, answer) {
    const client = clients.get(c)
    const options = { qos: m.qos, retain: m.retain, properties: outgoing(m, client.version) }
    client.publish(m.topic, m.payload, options, (err, packet) => {
      if (err?.code >= 0x80) answer({ code: err.code })
      else answer({ error: err?.message, code: client.reasons.get(packet?.messageId) })
    })
  },
  close ({ c }, answer) {
    const client = clients.get(c)
    if (!client || !clients.delete(c)) return answer({})
    client.end(!client.connected, {}, () => answer({}))
  }
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line)
  let answered = false
  commands[command.op](command, (o) => {
    if (!answered) say({ re: command.n, ...o })
    answered = true
  })
}).on('close', () => process.exit(0))
