package mqtt

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"
)

// FuzzHeader: a header is accepted exactly when its one encoding is what was
// read, and more bytes never change the verdict.
func FuzzHeader(f *testing.F) {
	for _, g := range goldens {
		f.Add(wire(g.wire)[:2])
	}
	f.Add(wire("30 ffffff7f"))
	f.Add(wire("30 ffffffff7f"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, n, err := ParseHeader(in)
		if err != nil {
			if _, n, err := ParseHeader(append(in, 0)); err == nil || n != 0 {
				t.Fatal("one more byte heals a fault")
			}
			return
		}
		if n == 0 {
			if len(in) >= 5 {
				t.Fatal("five bytes are not enough")
			}
			return
		}
		if again := appendVarint([]byte{byte(h.Type)<<4 | h.Flags}, h.Length); !bytes.Equal(again, in[:n]) {
			t.Fatalf("%x encodes to %x", in[:n], again)
		}
	})
}

// FuzzDecode: whatever comes in, nothing panics, nothing is kept that is not in
// the input, and what decodes survives encoding and decoding.
func FuzzDecode(f *testing.F) {
	for _, g := range goldens {
		f.Add(byte(g.v), wire(g.wire))
	}
	f.Add(byte(V5), sized("30 0001 't' 15 26 0001 'a' 0000 23 0001 01 01 0b 05 26 0000 0000"))
	f.Fuzz(func(t *testing.T, level byte, in []byte) {
		v := V31 + Version(level)%3
		h, n, err := ParseHeader(in)
		if err != nil || n == 0 || len(in) < n+h.Length {
			return
		}
		body := bytes.Clone(in[n : n+h.Length])
		var p Packet
		err = p.Decode(v, h, body, Limits{})
		keepsWithin(t, reflect.ValueOf(part(&p)), body)
		if err != nil {
			return
		}
		roundTrip(t, &p, v)
	})
}

// roundTrip encodes p, decodes it into a fresh and into a used Packet, and
// compares.
func roundTrip(t *testing.T, p *Packet, v Version) {
	t.Helper()
	if p.Type == CONNECT {
		v = p.Connect.Version
	}
	out := encode(p, v, nil)
	var again Packet
	if err := decodeWire(&again, v, bytes.Clone(out), Limits{}); err != nil {
		t.Fatalf("%+v encodes to %x: %v", part(p), out, err)
	}
	if !reflect.DeepEqual(part(p), part(&again)) {
		t.Fatalf("%+v\nbecomes\n%+v", part(p), part(&again))
	}
	if err := decodeWire(&again, v, bytes.Clone(out), Limits{}); err != nil {
		t.Fatal(err)
	}
	if second := encode(&again, v, nil); !bytes.Equal(out, second) {
		t.Fatalf("%x\nbecomes in a used packet\n%x", out, second)
	}
	if p.Type == PUBLISH && p.Publish.Size(v) != len(out) {
		t.Fatalf("size %d, written %d", p.Publish.Size(v), len(out))
	}
}

// keepsWithin fails if a byte slice in v, with its capacity, reaches outside
// body, or if there are more elements than bytes.
func keepsWithin(t *testing.T, v reflect.Value, body []byte) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			keepsWithin(t, v.Elem(), body)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			keepsWithin(t, v.Field(i), body)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			if v.Len() > len(body) {
				t.Fatalf("%d elements from %d bytes", v.Len(), len(body))
			}
			for i := range v.Len() {
				keepsWithin(t, v.Index(i), body)
			}
			return
		}
		s, isBytes := v.Interface().([]byte)
		if !isBytes || cap(s) == 0 {
			return // reason codes are copied
		}
		from := uintptr(unsafe.Pointer(unsafe.SliceData(body)))
		at := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
		if at < from || at+uintptr(cap(s)) > from+uintptr(cap(body)) {
			t.Fatalf("%q is not a view into the body", s)
		}
	}
}

// Random properties of a message in any order: Forward is the forwarded ones in
// theirs, one behind the other (F062) [MQTT5 MQTT-3.3.2-4] [MQTT5 MQTT-3.3.2-15]
// [MQTT5 MQTT-3.3.2-16] [MQTT5 MQTT-3.3.2-17] [MQTT5 MQTT-3.3.2-18]
// [MQTT5 MQTT-3.3.2-20].
func TestForwardAnyOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		single := [][]byte{
			AppendPayloadFormat(nil, true), AppendContentType(nil, "ct"), AppendResponseTopic(nil, "r"),
			AppendCorrelationData(nil, "cd"), wire("02 00000009"), wire("23 0003"),
		}
		kept := single[:rnd.IntN(len(single)+1)]
		for range rnd.IntN(4) {
			kept = append(kept, AppendUserProperty(nil, "k", string(rune('a'+rnd.IntN(26)))))
		}
		for range rnd.IntN(3) {
			kept = append(kept, wire("0b 8101"))
		}
		rnd.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
		var props, forward []byte
		for _, one := range kept {
			props = append(props, one...)
			if forwarded.Has(PropertyID(one[0])) {
				forward = append(forward, one...)
			}
		}
		in := append(wire("30 0001 't'"), appendVarint(nil, len(props))...)
		in = append(append(in, props...), "payload"...)
		in = append(appendVarint(in[:1:1], len(in)-1), in[1:]...)
		var p Packet
		if err := decodeWire(&p, V5, in, Limits{}); err != nil {
			t.Fatalf("%x: %v", props, err)
		}
		if !bytes.Equal(p.Publish.Props.Forward, forward) || string(p.Publish.Payload) != "payload" {
			t.Fatalf("%x: forward %x, want %x", props, p.Publish.Props.Forward, forward)
		}
		roundTrip(t, &p, V5)
	}
}
