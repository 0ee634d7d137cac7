package fact

import "context"

// Subscription gets facts as they are recorded. One goroutine may call its methods, and any one Close.
type Subscription struct {
	r     *Recorder
	query Query
	box   *box
}

// The bounds of a subscription.
const (
	liveFacts = 8192
	liveBytes = 8 << 20
)

// Watch tells the facts that a query asks for from here on, whatever its limit and order. Who watches a closed recorder gets ErrClosed.
func (r *Recorder) Watch(q Query) *Subscription {
	s := &Subscription{r: r, query: q.Normal(), box: newBox(liveFacts, liveBytes)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		s.box.close()
		return s
	}
	r.live[s] = struct{}{}
	return s
}

// Next waits for facts. Who is too slow misses some: lost says how many, since the last call. The facts are shared: look at them only.
func (s *Subscription) Next(ctx context.Context) (facts []Fact, lost uint64, err error) {
	t, err := s.box.next(ctx)
	return t.facts, t.lost, err
}

// Close ends the subscription, and a Next that waits.
func (s *Subscription) Close() {
	s.r.mu.Lock()
	delete(s.r.live, s)
	s.r.mu.Unlock()
	s.box.close()
}
