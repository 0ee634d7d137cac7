// Package proxy reads what a proxy in front of a listener tells about the client: the PROXY protocol, versions 1 and 2, and
// X-Forwarded-For. It judges bytes and addresses and touches no connection; whom to believe is the caller's to ask of Trusted.
package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MaxSize is the most bytes that a header may take: room for every TLV that HAProxy sends, the client's certificate included.
const MaxSize = 4096

// Header is what a proxy says about the client whose connection it forwards.
type Header struct {
	Source netip.AddrPort // of the client, unmapped; invalid if Local

	// Local says that the connection is the proxy's own, such as a health check, or that it does not know the client: the
	// connection's own address holds.
	Local bool

	TLS        bool   // the client spoke TLS to the proxy
	CommonName string // of the client's certificate, which the proxy has verified; "" = none. Valid UTF-8 without control characters
}

// ErrMissing says that a connection does not begin with a header.
var ErrMissing = errors.New("no PROXY header")

// Malformed is a header that cannot be believed.
type Malformed string

// Error says what is wrong with it.
func (m Malformed) Error() string { return "malformed PROXY header: " + string(m) }

const (
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
	maxSize1   = 107 // section 2.1 of the specification, CRLF included
)

// Parse reads the header that b begins with. n is its length; 0 without an error says that more bytes are needed, never
// more than MaxSize in all. The error is ErrMissing or a Malformed. Nothing of h refers to b.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case bytes.HasPrefix(b, []byte(signature2)):
		return parse2(b)
	case bytes.HasPrefix(b, []byte(signature1)):
		return parse1(b)
	case strings.HasPrefix(signature2, string(b)), strings.HasPrefix(signature1, string(b)):
		return Header{}, 0, nil
	}
	return Header{}, 0, ErrMissing
}

// parse1 reads a line such as "PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\n".
func parse1(b []byte) (h Header, n int, err error) {
	end := bytes.IndexByte(b[:min(len(b), maxSize1)], '\n')
	switch {
	case end < 0 && len(b) < maxSize1:
		return Header{}, 0, nil
	case end < 0:
		return Header{}, 0, Malformed("no end of line within 107 bytes")
	case b[end-1] != '\r':
		return Header{}, 0, Malformed("the line does not end in CR LF")
	}
	n = end + 1
	line := string(b[len(signature1) : end-1])
	family, rest, _ := strings.Cut(line, " ")
	if family == "UNKNOWN" { // whatever follows is to be ignored
		return Header{Local: true}, n, nil
	}
	f := strings.Split(rest, " ")
	if len(f) != 4 {
		return Header{}, 0, Malformed("not two addresses and two ports")
	}
	source, err := endpoint1(family, f[0], f[2])
	if err == nil {
		_, err = endpoint1(family, f[1], f[3])
	}
	if err != nil {
		return Header{}, 0, err
	}
	return Header{Source: source}, n, nil
}

// endpoint1 reads one address of a family with its port.
func endpoint1(family, address, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(address)
	switch {
	case family != "TCP4" && family != "TCP6":
		return netip.AddrPort{}, Malformed("neither TCP4, TCP6 nor UNKNOWN")
	case err != nil, a.Is4() != (family == "TCP4"), a.Zone() != "":
		return netip.AddrPort{}, Malformed("not an address of " + family)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(p, 10) != port {
		return netip.AddrPort{}, Malformed("not a port")
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), nil
}

// Trusted is a set of networks whose word is believed. The zero value believes nobody.
type Trusted []netip.Prefix

// ParseTrusted reads networks such as 10.0.0.0/8 or fd00::/8, and single addresses.
func ParseTrusted(networks []string) (Trusted, error) {
	var t Trusted
	for _, text := range networks {
		p, err := netip.ParsePrefix(text)
		if a, single := netip.ParseAddr(text); single == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is not a network such as 10.0.0.0/8 or an address", text)
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		t = append(t, p.Masked())
	}
	return t, nil
}

// Contains tells whether an address is in one of the networks. An invalid one is in none.
func (t Trusted) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// ForwardedFor tells where a request comes from, given the address of the connection and the values of all its
// X-Forwarded-For headers in their order: the right-most address that is not a trusted proxy's, because only trusted
// ones wrote what is to the right of it. Of a connection that no trusted proxy has opened the headers mean nothing; where all are
// trusted, it is the left-most. The error says that a trusted proxy named something that is no address.
func (t Trusted) ForwardedFor(conn netip.Addr, values []string) (netip.Addr, error) {
	at := conn.Unmap().WithZone("")
	entries := strings.Split(strings.Join(values, ","), ",")
	for i := len(entries) - 1; i >= 0 && t.Contains(at); i-- {
		text := strings.TrimSpace(entries[i])
		if text == "" {
			continue
		}
		a, err := forwarded(text)
		if err != nil {
			return netip.Addr{}, err
		}
		at = a
	}
	return at, nil
}

// forwarded reads one entry: an address, which some proxies give with its port.
func forwarded(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		var ap netip.AddrPort
		ap, err = netip.ParseAddrPort(text)
		a = ap.Addr()
	}
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("X-Forwarded-For: %.64q is not an address", text)
	}
	return a.Unmap(), nil
}
