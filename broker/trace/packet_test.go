package trace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

func encode(t testing.TB, v mqtt.Version, line string) []byte {
	t.Helper()
	b, err := packettext.Encode(nil, v, line)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCapture: secrets are blanked in place, payloads are cut, and all the rest is as it was.
func TestCapture(t *testing.T) {
	f := func(v mqtt.Version, line string, payload int, want string) {
		t.Helper()
		raw := encode(t, v, line)
		was := bytes.Clone(raw)
		published := 0
		h, n, _ := mqtt.ParseHeader(raw)
		var p mqtt.Packet
		if err := p.Decode(v, h, bytes.Clone(raw[n:]), mqtt.Limits{}); err != nil {
			t.Fatal(err)
		}
		if p.Type == mqtt.PUBLISH {
			published = len(p.Publish.Payload)
		}
		kept := Packet{Version: v, Raw: Capture(raw, published, payload), Size: len(raw)}
		if !bytes.Equal(raw, was) {
			t.Errorf("%s: it was changed", line)
		}
		if bytes.Contains(kept.Raw, []byte("secret")) {
			t.Errorf("%s: %q", line, kept.Raw)
		}
		d, err := kept.Decoded()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if got := packettext.Format(d); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", line, got, want)
		}
	}
	f(5, "CONNECT v5 id=a clean username=u password=secret", 0, "CONNECT v5 id=a clean username=u password=***")
	f(4, `CONNECT v3.1.1 id=a will=w will-qos=1 password=secret username=u "gone"`, 2, `CONNECT v3.1.1 id=a username=u password=*** will=w will-qos=1 "go\x00\x00"`)
	f(3, "CONNECT v3.1 id=a clean username=u password=secret", 0, "CONNECT v3.1 id=a clean username=u password=***")
	f(5, `CONNECT v5 id=a expiry=9 auth-method=M auth-data=secret user=k=v will=w will-delay=3 "x" username=u`, 9,
		`CONNECT v5 id=a username=u expiry=9 auth-method=M auth-data=*** user=k=v will=w will-delay=3 "x"`)
	f(5, "AUTH 0x18 auth-method=M auth-data=secret reason=go", 0, `AUTH 0x18 auth-method=M auth-data=*** reason=go`)
	f(5, "CONNACK 0x00 auth-method=M auth-data=secret receive-max=3", 0, `CONNACK 0x00 receive-max=3 auth-method=M auth-data=***`)
	f(5, `PUBLISH qos=1 id=3 topic=t user=k=v "a secret"`, 2, `PUBLISH qos=1 id=3 topic=t user=k=v "a "`)
	f(4, `PUBLISH topic=t "a secret"`, 0, `PUBLISH topic=t`)
	f(5, "SUBSCRIBE id=1 a/+ qos=1", 0, "SUBSCRIBE id=1 a/+ qos=1")
}

// FuzzCapture: whatever a client sends that can be decoded, no byte of its password is kept, and all the rest is; nothing panics.
func FuzzCapture(f *testing.F) {
	for _, line := range []string{
		`CONNECT v5 id=a clean username=u password=p0123456789 will=w will-delay=4 user=a=b "will"`, "CONNECT v3.1.1 id=a clean username=u password=p",
		"AUTH 0x18 auth-method=M auth-data=D",
	} {
		f.Add(encode(f, 5, line), byte(5))
	}
	f.Fuzz(func(t *testing.T, raw []byte, v byte) {
		HeadOf(raw)
		Outline(raw, mqtt.Version(v))
		h, n, err := mqtt.ParseHeader(raw)
		if err != nil || n == 0 || len(raw) < n+h.Length {
			return
		}
		raw = raw[:n+h.Length]
		var p mqtt.Packet
		if p.Decode(mqtt.Version(v), h, bytes.Clone(raw[n:]), mqtt.Limits{}) != nil {
			return
		}
		published := 0
		if p.Type == mqtt.PUBLISH {
			published = len(p.Publish.Payload)
		}
		kept := &Packet{Raw: Capture(raw, published, 1<<20), Version: mqtt.Version(v), Size: len(raw)}
		_ = kept.Line()
		h, n, _ = mqtt.ParseHeader(kept.Raw)
		var q mqtt.Packet
		if err := q.Decode(mqtt.Version(v), h, bytes.Clone(kept.Raw[n:]), mqtt.Limits{}); err != nil {
			t.Fatalf("it cannot be decoded any more: %v", err)
		}
		for _, secret := range [][]byte{q.Connect.Password, q.Connect.Props.AuthData, q.Auth.Props.AuthData, q.Connack.Props.AuthData} {
			if strings.Trim(string(secret), string(Mask)) != "" {
				t.Fatalf("kept %q", secret)
			}
		}
		p.Connect.Password, p.Connect.Props.AuthData, p.Auth.Props.AuthData, p.Connack.Props.AuthData = nil, nil, nil, nil
		q.Connect.Password, q.Connect.Props.AuthData, q.Auth.Props.AuthData, q.Connack.Props.AuthData = nil, nil, nil, nil
		if a, b := packettext.Format(&p), packettext.Format(&q); a != b {
			t.Fatalf("%s became %s", a, b)
		}
	})
}

func TestOutline(t *testing.T) {
	for line, want := range map[string]struct {
		v      mqtt.Version
		id     uint16
		reason mqtt.ReasonCode
	}{
		"PUBACK id=7":                       {4, 7, 0},
		"PUBREC id=8 0x97 reason=full":      {5, 8, mqtt.QuotaExceeded},
		"SUBACK id=9 0x01,0x87,0x8F":        {5, 9, mqtt.NotAuthorized},
		"SUBACK id=9 reason=long 0x01,0x02": {5, 9, 0},
		"SUBACK id=1 0x80":                  {4, 1, mqtt.UnspecifiedError},
		"CONNACK 0x87":                      {4, 0, mqtt.NotAuthorized},
		"CONNACK 0x8A reason=no":            {5, 0, mqtt.Banned},
		"DISCONNECT 0x8E":                   {5, 0, mqtt.SessionTakenOver},
		"PINGRESP":                          {5, 0, 0},
		"UNSUBACK id=3":                     {4, 3, 0},
		"AUTH 0x18 auth-method=M user=a=b":  {5, 0, mqtt.ContinueAuthentication},
		"PUBREL id=65535 0x92":              {5, 65535, mqtt.PacketIDNotFound},
	} {
		if id, reason := Outline(encode(t, want.v, line), want.v); id != want.id || reason != want.reason {
			t.Errorf("%s: id %d, reason %v", line, id, reason)
		}
	}
}

// TestTap: what is offered comes out in order; what does not fit is counted; after Close the rest, then the end.
func TestTap(t *testing.T) {
	ended := 0
	tap := NewTap(Filter{Client: "c"}, func() { ended++ })
	for i := range queuePackets + 10 {
		tap.Offer(Packet{Size: i})
	}
	got, err := tap.Next(context.Background(), nil)
	if err != nil || len(got) != queuePackets || got[5].Size != 5 || tap.Missed() != 10 {
		t.Errorf("%d packets, %d missed, %v", len(got), tap.Missed(), err)
	}
	tap.Offer(Packet{Raw: make([]byte, queueBytes)})
	tap.Offer(Packet{Raw: make([]byte, 1)})
	tap.Close()
	tap.Close()
	tap.Offer(Packet{})
	if got, err := tap.Next(context.Background(), nil); err != nil || len(got) != 1 || tap.Missed() != 11 {
		t.Errorf("%d packets, %d missed, %v", len(got), tap.Missed(), err)
	}
	if _, err := tap.Next(context.Background(), nil); err != io.EOF || ended != 1 {
		t.Errorf("%v, ended %d times", err, ended)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := NewTap(Filter{}, nil).Next(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestFilter(t *testing.T) {
	for _, bad := range []Filter{{}, {Client: "a", Topic: "b"}, {Topic: "a/#/b"}, {Client: "a", Payload: -1}} {
		if bad.Verify() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	near, far := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("11.0.0.1")
	for _, x := range []struct {
		f       Filter
		client  string
		address netip.Addr
		about   string
		want    bool
	}{
		{Filter{Client: "a"}, "a", near, "", true},
		{Filter{Client: "a"}, "b", near, "", false},
		{Filter{Topic: "t/+"}, "a", near, "t/x", true},
		{Filter{Topic: "t/+"}, "a", near, "", false},
		{Filter{Topic: "#"}, "a", near, "$SYS/x", false},
		{Filter{Network: netip.MustParsePrefix("10.0.0.0/8")}, "a", near, "", true},
		{Filter{Network: netip.MustParsePrefix("10.0.0.0/8")}, "a", far, "", false},
		{Filter{Network: netip.MustParsePrefix("10.0.0.0/8")}, "a", netip.Addr{}, "", false},
	} {
		if x.f.Takes(x.client, x.address, x.about) != x.want {
			t.Errorf("%+v", x)
		}
	}
}
