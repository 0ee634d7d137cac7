package history

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
)

// AppendPayload appends the payload of a message: its name, filler up to size bytes, and a checksum over both and the
// topic, so that a payload that comes under another topic is seen too.
func AppendPayload(dst []byte, topic string, m Message, size int) []byte {
	start := len(dst)
	dst = fmt.Appendf(dst, "%s %d ", m.Publisher, m.Number)
	for len(dst)-start < size-9 {
		dst = append(dst, 'a'+byte((m.Number+len(dst)-start)%26))
	}
	return fmt.Appendf(dst, " %08x", checksum(topic, dst[start:]))
}

// ParsePayload tells which message a payload is, and what is wrong with it, "" for nothing. An empty payload is no
// message.
func ParsePayload(topic string, payload []byte) (m Message, fault string) {
	if len(payload) == 0 {
		return m, ""
	}
	at := bytes.LastIndexByte(payload, ' ')
	if at < 0 {
		return m, fmt.Sprintf("the payload %.40q is nobody's", payload)
	}
	sum, err := strconv.ParseUint(string(payload[at+1:]), 16, 32)
	if err != nil || uint32(sum) != checksum(topic, payload[:at]) {
		return m, fmt.Sprintf("the payload %.40q fails its checksum", payload)
	}
	fields := bytes.SplitN(payload, []byte{' '}, 3)
	m.Publisher = string(fields[0])
	if m.Number, err = strconv.Atoi(string(fields[1])); err != nil || len(fields) < 3 {
		return Message{}, fmt.Sprintf("the payload %.40q is nobody's", payload)
	}
	return m, ""
}

func checksum(topic string, body []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE([]byte(topic)), crc32.IEEETable, body)
}
