package overload

// fairShare is what everybody may send in a period while it is not known what is usual, in bytes.
const fairShare = 4 << 10

// Shares tells who sends more than the average of all who send, period by period. The zero value knows nobody. It belongs to
// one goroutine.
type Shares[K comparable] struct {
	sent  map[K]int64
	total int64
	share int64
	until int64
}

// sharePeriod is how long a period is, in ms.
const sharePeriod = 250

// Heavy notes bytes that somebody wants to send, and tells that it is more than its share.
func (s *Shares[K]) Heavy(now int64, who K, bytes int) bool {
	if now >= s.until {
		s.share = fairShare
		if len(s.sent) > 0 {
			s.share = max(fairShare, s.total/int64(len(s.sent)))
		}
		if now >= s.until+sharePeriod || s.sent == nil {
			s.share = fairShare // what was long ago is of no use
		}
		s.sent, s.total, s.until = make(map[K]int64), 0, now+sharePeriod
	}
	s.sent[who] += int64(bytes)
	s.total += int64(bytes)
	return s.sent[who] > s.share
}

// Forget lets go of everybody.
func (s *Shares[K]) Forget() { s.sent = nil }
