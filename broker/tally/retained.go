package tally

// Keep has the view list a topic, and count it among those of the branches above, though nothing was counted of it: it has a retained message.
// It comes between Begin and End.
func (v *View) Keep(t Topic) {
	if t <= Root || t >= v.end || v.kept.has(t) || v.Names.IsRest(t) {
		return
	}
	v.kept.add(t)
	if own, rates := v.Own(t); own.Topics == 0 {
		v.take(t, &Sum{*own, *rates})
	}
}

func (t touched) has(topic Topic) bool { return t[topic>>6]&(1<<(topic&63)) != 0 }
