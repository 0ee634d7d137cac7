package websocket

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// MaxRequest is the most bytes that an upgrade request may take.
const MaxRequest = 8 << 10

// Policy is which upgrades are accepted.
type Policy struct {
	Path    string   // "" = every path
	Origins []string // allowed beside the server's own host: https://host[:port], or * for all
	// Local says that the listener is for this machine and lets everybody in who is on it. Its own host is then localhost or a loopback
	// address only: any page can have its name lead to 127.0.0.1 (DNS rebinding), and would be of the server's own host.
	Local bool
}

// Refusal is why a request is not upgraded.
type Refusal struct {
	Code   int // of HTTP
	Text   string
	header string // a line for the answer
}

// Error is for people.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%d %s: %s", r.Code, http.StatusText(r.Code), r.Text)
}

// AppendTo appends the HTTP answer, which ends the connection.
func (r *Refusal) AppendTo(b []byte) []byte {
	return fmt.Appendf(b, "HTTP/1.1 %d %s\r\n%sConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s\n",
		r.Code, http.StatusText(r.Code), r.header, len(r.Text)+1, r.Text)
}

// Header is the answer's header beside what every answer has: name and value, or two empty strings.
func (r *Refusal) Header() (name, value string) {
	name, value, _ = strings.Cut(strings.TrimSuffix(r.header, "\r\n"), ": ")
	return name, value
}

// end is where a request's header ends in b; -1 when it is not there yet.
func end(b []byte) int {
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return i + 4
	}
	return -1
}

// Parse reads the upgrade request that b begins with. n is its length; 0 without an error says that more is needed, never more than
// MaxRequest in all. The error is a *Refusal. A request is judged by Policy.Answer.
func Parse(b []byte) (r *http.Request, n int, err error) {
	n = end(b[:min(len(b), MaxRequest)])
	if n < 0 {
		if len(b) >= MaxRequest {
			return nil, 0, &Refusal{Code: http.StatusRequestHeaderFieldsTooLarge, Text: "the request has more than 8 KiB"}
		}
		if !mayBeRequest(b) {
			return nil, 0, &Refusal{Code: http.StatusBadRequest, Text: "this is not HTTP: here is a WebSocket listener"}
		}
		return nil, 0, nil
	}
	r, err = http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(b[:n]), 16))
	if err != nil {
		return nil, 0, &Refusal{Code: http.StatusBadRequest, Text: "this is not an HTTP request"}
	}
	return r, n, nil
}

// mayBeRequest tells whether b, incomplete, looks like the beginning of a request: a method in capital letters.
func mayBeRequest(b []byte) bool {
	for i, c := range b {
		if c == ' ' && i > 0 {
			return true
		}
		if c < 'A' || c > 'Z' || i > 16 {
			return false
		}
	}
	return true
}

// Answer is the 101 answer to a request that p accepts. The error is a *Refusal.
func (p *Policy) Answer(r *http.Request) (answer []byte, err error) {
	if err := p.judge(r); err != nil {
		return nil, err
	}
	protocol, err := subprotocol(r.Header)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), protocol), nil
}

// judge holds the rules of RFC 6455 4.2.1 and the policy.
func (p *Policy) judge(r *http.Request) error {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case p.Path != "" && r.URL.Path != p.Path:
		return &Refusal{Code: http.StatusNotFound, Text: "MQTT over WebSocket is at " + p.Path}
	case r.Method != http.MethodGet:
		return &Refusal{Code: http.StatusMethodNotAllowed, Text: "an upgrade is a GET", header: "Allow: GET\r\n"}
	case r.ContentLength != 0:
		return &Refusal{Code: http.StatusBadRequest, Text: "an upgrade has no body"}
	case r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Host == "":
		return &Refusal{Code: http.StatusBadRequest, Text: "an upgrade needs HTTP/1.1 with a Host"}
	case !has(r.Header, "Upgrade", "websocket") || !has(r.Header, "Connection", "upgrade"):
		return &Refusal{
			Code: http.StatusUpgradeRequired, Text: "here is MQTT over WebSocket: the headers Upgrade: websocket and Connection: Upgrade are missing",
			header: "Upgrade: websocket\r\n",
		}
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return &Refusal{Code: http.StatusUpgradeRequired, Text: "the version of WebSocket here is 13", header: "Sec-WebSocket-Version: 13\r\n"}
	case err != nil || len(key) != 16:
		return &Refusal{Code: http.StatusBadRequest, Text: "Sec-WebSocket-Key is not 16 bytes in base64"}
	case !p.allows(r.Header.Values("Origin"), r.Host):
		return &Refusal{Code: http.StatusForbidden, Text: "pages of this origin may not connect: it is not in the listener's origins"}
	}
	return nil
}

// allows tells whether a page of this origin may connect. What is no browser sends none.
func (p *Policy) allows(origins []string, host string) bool {
	if len(origins) == 0 {
		return true
	}
	if len(origins) > 1 {
		return false
	}
	origin := origins[0]
	if slices.Contains(p.Origins, "*") || slices.ContainsFunc(p.Origins, func(o string) bool { return strings.EqualFold(o, origin) }) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host) && (!p.Local || local(u.Hostname()))
}

// local tells whether a host is this machine, whatever a name server says.
func local(host string) bool {
	a, err := netip.ParseAddr(host)
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && a.Unmap().IsLoopback()
}

// has tells whether a list header has a token.
func has(h http.Header, name, token string) bool {
	return slices.ContainsFunc(list(h, name), func(s string) bool { return strings.EqualFold(s, token) })
}

// list is a header that may come in several lines with several elements each.
func list(h http.Header, name string) (all []string) {
	for _, line := range h.Values(name) {
		for s := range strings.SplitSeq(line, ",") {
			if s = strings.TrimSpace(s); s != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

// subprotocol chooses the client's first one that is MQTT [MQTT-6.0.0-3], [MQTT-6.0.0-4].
func subprotocol(h http.Header) (string, error) {
	for _, s := range list(h, "Sec-WebSocket-Protocol") {
		if s == "mqtt" || s == "mqttv3.1" {
			return s, nil
		}
	}
	return "", &Refusal{Code: http.StatusBadRequest, Text: "Sec-WebSocket-Protocol lacks mqtt (or, for MQTT 3.1, mqttv3.1)"}
}

// Conn is one connection as the event loops use it: the upgrade first, unless Upgraded, then frames.
type Conn struct {
	Policy func() *Policy
	// Accept is asked about a request that Policy allows; nil = it is accepted. What an error says is the text of the refusal.
	Accept   func(r *http.Request) error
	Upgraded bool

	request []byte
	answer  []byte
	dec     Decoder
}

// Decode takes all of b, see Decoder.Decode. Before the upgrade it collects the request, up to MaxRequest, and answers it; a
// refusal is the error.
func (c *Conn) Decode(b []byte) (payload, answer []byte, err error) {
	c.answer = c.answer[:0]
	if !c.Upgraded {
		if b, err = c.upgrade(b); err != nil || !c.Upgraded {
			return nil, c.answer, err
		}
	}
	payload, answer, err = c.dec.Decode(b, c.answer)
	if c.answer = answer; cap(answer) > 256 {
		c.answer = nil
	}
	return payload, answer, err
}

// upgrade takes a part of the request and returns what came behind it.
func (c *Conn) upgrade(b []byte) ([]byte, error) {
	c.request = append(c.request, b...)
	r, n, err := Parse(c.request)
	if err == nil && n == 0 {
		return nil, nil
	}
	if err == nil {
		var yes []byte
		if yes, err = c.Policy().Answer(r); err == nil && c.Accept != nil {
			if no := c.Accept(r); no != nil {
				err = &Refusal{Code: http.StatusForbidden, Text: no.Error()}
			}
		}
		if err == nil {
			c.answer = yes
			rest := c.request[n:]
			c.request, c.Upgraded = nil, true
			return rest, nil
		}
	}
	var no *Refusal
	if errors.As(err, &no) {
		c.answer = no.AppendTo(nil)
	}
	c.request = nil
	return nil, err
}

// AppendHeader appends what goes before n bytes.
func (c *Conn) AppendHeader(b []byte, n int) []byte { return AppendHeader(b, n) }

// AppendClose appends the closing frame of a server that ends the connection.
func (c *Conn) AppendClose(b []byte) []byte {
	if !c.Upgraded || c.dec.closed {
		return b
	}
	return AppendClose(b, NormalClosure)
}
