package trace

import "testing"

// BenchmarkRecord is what one packet costs: of a client that publishes to one topic, of one with PUBLISH and PUBACK in turn, and of one
// with 20 topics.
func BenchmarkRecord(b *testing.B) {
	topic := []byte("plant/press-07/temperature")
	payload := make([]byte, 64)
	b.Run("one", func(b *testing.B) {
		r, l := NewRing(1<<20, 0), Log{}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r.Record(&l, int64(i>>10), Head{First: 0x30, Size: 100}, topic, payload)
		}
	})
	b.Run("two", func(b *testing.B) {
		r, l := NewRing(1<<20, 0), Log{}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r.Record(&l, int64(i>>10), Head{First: 0x32, ID: uint16(i), Size: 100}, topic, payload)
			r.Record(&l, int64(i>>10), Head{First: 0x40, Out: true, ID: uint16(i), Size: 4}, nil, nil)
		}
	})
	b.Run("many", func(b *testing.B) {
		r, l := NewRing(1<<20, 0), Log{}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			topic[6] = 'a' + byte(i%20)
			r.Record(&l, int64(i>>10), Head{First: 0x30, Size: 100}, topic, payload)
		}
	})
}
