package proxy

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What version 2 says in numbers: section 2.2 of the specification.
const (
	fixedSize = 16 // signature, version and command, family, length

	commandLocal = 0x20 // with the version in the upper half
	commandProxy = 0x21

	familyNone = 0x00
	familyTCP4 = 0x11
	familyTCP6 = 0x21

	typeCRC32C = 0x03
	typeSSL    = 0x20
	typeCN     = 0x22 // within typeSSL

	clientSSL  = 0x01
	clientCert = 0x02 | 0x04 // in this connection, or in the session it resumes
)

// parse2 reads a binary header, whose signature is there.
func parse2(b []byte) (h Header, n int, err error) {
	if len(b) < fixedSize {
		return Header{}, 0, nil
	}
	n = fixedSize + int(binary.BigEndian.Uint16(b[14:]))
	switch command := b[12]; {
	case command != commandLocal && command != commandProxy:
		return Header{}, 0, Malformed("neither LOCAL nor PROXY of version 2")
	case n > MaxSize:
		return Header{}, 0, Malformed("longer than 4096 bytes")
	case len(b) < n:
		return Header{}, 0, nil
	case command == commandLocal: // what follows is to be skipped
		return Header{Local: true}, n, nil
	}
	rest := b[fixedSize:n]
	switch family := b[13]; family {
	case familyNone:
		h.Local = true
	case familyTCP4, familyTCP6:
		size := 4
		if family == familyTCP6 {
			size = 16
		}
		if len(rest) < 2*size+4 {
			return Header{}, 0, Malformed("too short for its addresses")
		}
		a, _ := netip.AddrFromSlice(rest[:size])
		h.Source = netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(rest[2*size:]))
		rest = rest[2*size+4:]
	default: // a client of a Unix socket at the proxy would pass for one at ours
		return Header{}, 0, Malformed("a client that did not come by TCP")
	}
	if err := h.values(b[:n], rest); err != nil {
		return Header{}, 0, err
	}
	return h, n, nil
}

// values reads the TLVs of a header, which are what its addresses leave.
func (h *Header) values(header, rest []byte) error {
	secure := false
	return eachValue(rest, func(kind byte, v []byte, left int) error {
		switch kind {
		case typeCRC32C:
			if end := len(header) - left; len(v) != 4 || checksum(header[:end-4], header[end:]) != binary.BigEndian.Uint32(v) {
				return Malformed("wrong checksum")
			}
		case typeSSL:
			if secure {
				return Malformed("two accounts of TLS")
			}
			secure = true
			return h.ssl(v)
		}
		return nil
	})
}

// checksum is that of a header around the four bytes of the checksum itself, which count as zero.
func checksum(before, after []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, before)
	sum = crc32.Update(sum, table, make([]byte, 4))
	return crc32.Update(sum, table, after)
}

// eachValue walks over a sequence of TLVs and tells how many bytes are left after each.
func eachValue(b []byte, f func(kind byte, v []byte, left int) error) error {
	for len(b) > 0 {
		if len(b) < 3 {
			return Malformed("a TLV is cut off")
		}
		end := 3 + int(binary.BigEndian.Uint16(b[1:]))
		if end > len(b) {
			return Malformed("a TLV is longer than what it is in")
		}
		if err := f(b[0], b[3:end], len(b)-end); err != nil {
			return err
		}
		b = b[end:]
	}
	return nil
}

// ssl reads what the proxy knows of the client's TLS. A name counts only when it comes from a certificate that was verified.
func (h *Header) ssl(v []byte) error {
	if len(v) < 5 {
		return Malformed("the account of TLS is cut off")
	}
	h.TLS = v[0]&clientSSL != 0
	verified := h.TLS && v[0]&clientCert != 0 && binary.BigEndian.Uint32(v[1:]) == 0
	named := false
	return eachValue(v[5:], func(kind byte, v []byte, _ int) error {
		if kind != typeCN {
			return nil
		}
		if named || len(v) == 0 || !utf8.Valid(v) || strings.ContainsFunc(string(v), unicode.IsControl) {
			return Malformed("the common name is not one line of UTF-8, given once")
		}
		named = true
		if verified {
			h.CommonName = string(v)
		}
		return nil
	})
}
