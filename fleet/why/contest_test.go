package why

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// taken is one takeover: from where to where, how long the old connection lasted, and how long it had been silent.
type taken struct {
	from, by       string
	lasted, silent time.Duration
}

// contests are the facts of takeovers, the newest a second ago; manners are the keep-alives with which the connections came.
func contests(all []taken, manners ...int) (facts []fact.Fact) {
	for i, x := range all {
		at := ago(time.Duration(len(all)-i) * time.Second)
		keep := 60
		if len(manners) > 0 {
			keep = manners[i%len(manners)]
		}
		facts = append(facts, fact.Fact{At: at, Kind: fact.TakenOver, Client: "d1", Address: x.from, Text: "Taken over.", Detail: map[string]string{
			"by_address": x.by, "for_seconds": fmt.Sprint(x.lasted.Seconds()), "silent_seconds": fmt.Sprint(x.silent.Seconds()), "keep_alive_seconds": fmt.Sprint(keep),
		}}, fact.Fact{At: at, Kind: fact.Connected, Client: "d1", Address: x.by, Text: "Connected.", Detail: map[string]string{"keep_alive_seconds": fmt.Sprint(keep), "software": "meterd 2"}})
	}
	slices.Reverse(facts)
	return facts
}

// Who takes a client id from whom: two devices, or one that is not waited for (F041).
func TestContested(t *testing.T) {
	a, b := "10.0.0.1", "10.0.0.2"
	quick := taken{a, a, time.Second, time.Second}
	times := func(n int, x ...taken) (all []taken) {
		for i := range n {
			all = append(all, x[i%len(x)])
		}
		return all
	}
	f := func(name string, facts []fact.Fact, cause, text string) {
		t.Run(name, func(t *testing.T) {
			t.Helper()
			w := world{state: on(nil), facts: facts}
			got, err := New(&w, func() time.Time { return now }).Client(t.Context(), "d1")
			if err != nil {
				t.Fatal(err)
			}
			if got.Verdict != Flapping || got.Cause != cause || got.Text != text || len(got.Evidence) == 0 || len(got.Suggestions) != 1 || got.Since.IsZero() {
				t.Errorf("%s, %s, %q\n%s\nwant\n%s", got.Verdict, got.Cause, got.Suggestions, got.Text, text)
			}
			if own := strings.Contains(got.Suggestions[0], "a client id of its own"); own != (cause == "client_id_fight") {
				t.Error(got.Suggestions)
			}
		})
	}
	f("two addresses by turns", contests(times(4, taken{a, b, time.Minute, 5 * time.Second}, taken{b, a, time.Minute, 20 * time.Second})), "client_id_fight",
		"Two devices use the client id: they took it from each other 4 times in the last 10 min, by turns from 10.0.0.1 and 10.0.0.2.")
	f("two networks of one device", contests(times(3, taken{a, b, 5 * time.Minute, 70 * time.Second}, taken{b, a, 5 * time.Minute, 80 * time.Second})), "reconnects",
		"One device connects again while its old connection is still open, and moves between networks: 3 times in the last 10 min, from 2 addresses, now 10.0.0.2.")
	f("always another address", contests([]taken{{a, b, time.Minute, time.Second}, {b, "10.0.0.3", time.Minute, 0}, {"10.0.0.3", "10.0.0.4", time.Minute, 0}}), "reconnects",
		"One device connects again while its old connection is still open, and moves between networks: 3 times in the last 10 min, from 4 addresses, now 10.0.0.4.")
	f("two settings by turns", contests(times(3, quick), 60, 30), "client_id_fight",
		"Two programs at 10.0.0.1 use the client id: they took it from each other 3 times in the last 10 min, by turns with keep alive 60 and keep alive 30.")
	f("other settings from then on", contests(times(4, quick), 60, 60, 30, 30), "reconnects",
		"One device at 10.0.0.1 most likely connects again before its old connection is closed: 4 times in the last 10 min, and nothing tells of a second one.")
	f("a link that breaks", contests(append(times(2, taken{a, a, 3 * time.Minute, 45 * time.Second}), quick)), "reconnects",
		"One device at 10.0.0.1 connects again while its old connection is still open: 3 times in the last 10 min; the old one had been silent for up to 45 s.")
	f("both in use", contests(append(times(2, taken{a, a, 30 * time.Second, time.Second}), quick)), "client_id_fight",
		"Two programs at 10.0.0.1 most likely use the client id: it was taken over 3 times in the last 10 min, and the connection that was taken over was in use each time, or nearly.")
	f("three quick ones", contests(times(3, quick)), "reconnects",
		"One device at 10.0.0.1 most likely connects again before its old connection is closed: 3 times in the last 10 min, and nothing tells of a second one.")
	f("no end of quick ones", contests(times(endless, quick)), "client_id_fight",
		"Two programs at 10.0.0.1 most likely use the client id: it was taken over 20 times in the last 10 min, and each time at once, as by programs that connect again whenever they are taken over.")
	before := contests(times(3, quick))
	for i := range before {
		before[i].Detail = nil
	}
	f("facts that do not tell so much", before, "reconnects",
		"One device at 10.0.0.1 most likely connects again before its old connection is closed: 3 times in the last 10 min, and nothing tells of a second one.")
}
