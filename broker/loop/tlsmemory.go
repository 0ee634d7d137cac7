package loop

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"time"
	"unsafe"
)

// fatBuffer is the capacity above which an idle connection's record buffer is given back.
const fatBuffer = 1 << 10

// tlsLayout says where in a tls.Conn its input buffers are. They grow to the largest record seen, 16 KiB, and package tls never
// gives them back; so we do, while they are empty. With a Go release that has other fields nothing is given back.
type tlsLayout struct {
	known               bool
	raw, hand, consumed uintptr
}

func newTLSLayout() (y tlsLayout) {
	conn := reflect.TypeFor[tls.Conn]()
	at := func(name string, t reflect.Type) uintptr {
		f, ok := conn.FieldByName(name)
		y.known = y.known && ok && f.Type == t
		return f.Offset
	}
	y.known = true
	y.raw = at("rawInput", reflect.TypeFor[bytes.Buffer]())
	y.hand = at("hand", reflect.TypeFor[bytes.Buffer]())
	y.consumed = at("input", reflect.TypeFor[bytes.Reader]())
	return y
}

func (y *tlsLayout) field(c *tls.Conn, at uintptr) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(c), at)
}

// fat reports whether c holds on to a large buffer.
func (y *tlsLayout) fat(c *tls.Conn) bool {
	return y.known && (*bytes.Buffer)(y.field(c, y.raw)).Cap() > fatBuffer
}

// trim gives back c's empty buffers. The handshake must be over, and nobody else may use c.
func (y *tlsLayout) trim(c *tls.Conn) {
	if !y.known {
		return
	}
	input := (*bytes.Reader)(y.field(c, y.consumed))
	if input.Len() > 0 {
		return
	}
	*input = bytes.Reader{} // it refers to raw
	for _, at := range []uintptr{y.raw, y.hand} {
		if b := (*bytes.Buffer)(y.field(c, at)); b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
}

// watch has x looked at, when it is idle, if its buffer has grown.
func (x *layer) watch() {
	l := x.upper.l
	if !x.fat && l.tls.layout.fat(x.tls) {
		x.fat = true
		l.tls.fat = append(l.tls.fat, x)
		if l.tls.fatAt.IsZero() {
			l.tls.fatAt = l.now.Add(trimEvery)
		}
	}
}

// trimTLS gives back the buffers of the connections that had no input since the last time.
func (l *Loop) trimTLS(now time.Time) {
	if l.tls.fatAt.IsZero() || now.Before(l.tls.fatAt) {
		return
	}
	stay := l.tls.fat[:0]
	for _, x := range l.tls.fat {
		switch {
		case x.upper.flags&gone != 0 || x.upper.l != l:
		case x.active:
			x.active = false
			stay = append(stay, x)
		default:
			x.fat = false
			l.tls.layout.trim(x.tls)
		}
	}
	clear(l.tls.fat[len(stay):])
	l.tls.fat, l.tls.fatAt = stay, time.Time{}
	if len(stay) > 0 {
		l.tls.fatAt = now.Add(trimEvery)
	}
}
