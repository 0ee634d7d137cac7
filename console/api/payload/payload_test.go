package payload

import (
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShow(t *testing.T) {
	f := func(topic, data, encoding, want string) {
		t.Helper()
		b := []byte(data)
		if x, ok := strings.CutPrefix(data, "hex:"); ok {
			var err error
			if b, err = hex.DecodeString(x); err != nil {
				t.Fatal(err)
			}
		}
		got := Show(topic, b, 0)
		if got.Encoding != encoding || !strings.Contains(got.Text, want) || got.Truncated || got.Size != len(b) {
			t.Errorf("%q: %+v", data, got)
		}
	}
	f("t", "", Text, "")
	f("t", "21.5", Text, "21.5")
	f("t", "grün\n", Text, "grün\n")
	f("t", "{no json", Text, "{no json")
	f("t", `{"a":[1,{"b":"x, \"y\": z"}],"c":{},"d":[ ]}`, JSON, "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x, \\\"y\\\": z\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}")
	f("t", "hex:00ff", Hex, "00000000  00 ff")
	f("t", "a\x1b[31m", Hex, "61 1b 5b")
	f("t", "hex:a2616101616282f5f6", CBOR, "{\n  \"a\": 1,\n  \"b\": [\n    true,\n    null\n  ]\n}")
	f("t", "hex:bf61619f0102ffff", CBOR, "\"a\": [\n    1,\n    2\n  ]")
	f("t", "hex:a1617ac074323031332d30332d32315432303a30343a30305a", CBOR, "\"z\": 0(\"2013-03-21T20:04:00Z\")")
	f("t", "hex:a16166f93e00", CBOR, "\"f\": 1.5")
	f("t", "hex:82a161d1ff38a162c3", MessagePack, "{\n  \"a\": -200,\n  \"b\": true\n}")
	f("t", "hex:81a378797ac4030102ff", MessagePack, "\"xyz\": h'0102ff'")
	f("t", "hex:81a1", Hex, "81 a1")   // cut off
	f("t", "hex:8180ff", Hex, "81 80") // nothing that says what it is
	f("t", "hex:a0", Hex, "a0")
	spark := "hex:08c0c4071209" + "0a0474656d70" + "4d0000ac41" // not one: 0x4d is field 9 of 32 bits
	f("spBv1.0/g/DDATA/e/d", spark, Hex, "")
	metric := "0a0474656d70" + "2009" + "650000ac41" // name temp, datatype Float, 21.5
	f("spBv1.0/g/DDATA/e/d", "hex:0880a0dff3e9311211"+metric+"1807"+"", Hex, "")
	f("spBv1.0/g/DDATA/e/d", "hex:0880a0dff3e931120d"+metric+"1807", Sparkplug, `{"name": "temp", "datatype": "Float", "value": 21.5}`)
	neg := "0a016e200350feffffff0f" // name n, Int32, -2
	f("spBv1.0/g/DDATA/e/d", "hex:120b"+neg, Sparkplug, `"value": -2`)
	f("other/topic", "hex:0880a0dff3e931120d"+metric+"1807", Hex, "")
}

// TestBounds: what is long or deep is cut or not decoded, and says so.
func TestBounds(t *testing.T) {
	f := func(data string, most int, encoding string) {
		t.Helper()
		got := Show("t", []byte(data), most)
		if got.Encoding != encoding || !got.Truncated || len(got.Text) > most || !utf8.ValidString(got.Text) || got.Text == "" {
			t.Errorf("%.40q: %.100v", data, got)
		}
	}
	f(strings.Repeat("ä", 1000), 101, Text)
	f(strings.Repeat("x", maxLook+1), 100, Text)
	f("["+strings.Repeat(`"ä",`, 1000)+"1]", 99, JSON)
	f(strings.Repeat("[", 9000)+strings.Repeat("]", 9000), 1000, JSON)
	f(strings.Repeat("\x00", 1000), 200, Hex)
	f("\xa1\x61a\x79\x20\x00"+strings.Repeat("ä", 4096), 1001, CBOR)
	if got := Show("t", []byte(strings.Repeat("\x81", 100)+"\x61a"), 0); got.Encoding != Hex {
		t.Errorf("too deep: %v", got)
	}
	if got := Show("t", []byte("\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x61a"), 0); got.Encoding != Hex {
		t.Errorf("a length without content: %v", got)
	}
}

func FuzzShow(f *testing.F) {
	for _, s := range []string{"{}", "\xa1\x61a\x01", "\x81\xa1a\x01", "\x08\x01\x12\x03\x0a\x01a", "\xff", "[1,2"} {
		f.Add("spBv1.0/x", []byte(s), 100)
	}
	f.Fuzz(func(t *testing.T, topic string, b []byte, most int) {
		got := Show(topic, b, most)
		if !utf8.ValidString(got.Text) || got.Size != len(b) || len(got.Text) > MaxText {
			t.Fatalf("%+v", got)
		}
		if got.Encoding == "" || got.Encoding == Text && !got.Truncated && got.Text != string(b) {
			t.Fatalf("%+v", got)
		}
	})
}
