package tally

import "bytes"

// Search gives found the topics in whose last payload, as far as it is kept, there is a word; about n payloads from a place on. It
// returns where to go on, 0 at the end.
func (t *Topics) Search(word []byte, from, n int, found func(Topic)) (next int) {
	p := &t.payloads
	end := min(from+n, len(p.held))
	for i := from; i < end; i++ {
		if h := &p.held[i]; h.owner != 0 && bytes.Contains(p.place(i)[:h.kept], word) {
			found(t.row(h.owner).topic)
		}
	}
	if end >= len(p.held) {
		return 0
	}
	return end
}
