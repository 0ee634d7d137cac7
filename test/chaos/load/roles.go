package load

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// role is what one client does all day.
type role struct {
	id      string
	version mqtt.Version
	window  int                         // messages under way at a time; 0 = publishes nothing
	next    func(rng *rand.Rand) letter // what to publish
	filters []string                    // subscribed always
	toggles []string                    // subscribed now and then
	qos     mqtt.QoS                    // of the subscriptions
	on, off span                        // how long it stays connected, and away; on 0 = until the connection ends
	renews  bool                        // sometimes asks for a new session
	receive uint16                      // Receive Maximum of v5; 0 = none
}

// span is a range of times to choose from.
type span struct{ from, to time.Duration }

func (s span) choose(rng *rand.Rand) time.Duration {
	if s.to <= s.from {
		return s.from
	}
	return s.from + time.Duration(rng.Int64N(int64(s.to-s.from)))
}

// letter is a message to be published.
type letter struct {
	topic  string
	qos    mqtt.QoS
	retain bool
	erase  bool
	size   int
}

// The topics: messages and retained values.
const (
	messageTopics  = 6
	retainedTopics = 8
)

func retainedTopic(i int) string { return fmt.Sprintf("r/%d", i) }

func message(rng *rand.Rand) letter {
	l := letter{topic: fmt.Sprintf("m/%d", rng.IntN(messageTopics)), qos: mqtt.QoS(1 + rng.IntN(2)), size: 30 + rng.IntN(300)}
	if rng.IntN(50) == 0 {
		l.size = 8000
	}
	return l
}

func retained(rng *rand.Rand) letter {
	l := letter{topic: retainedTopic(rng.IntN(retainedTopics)), qos: mqtt.QoS(1 + rng.IntN(2)), size: 30 + rng.IntN(200), retain: true}
	l.erase = rng.IntN(4) == 0
	return l
}

const ms = time.Millisecond

// roles is the whole crowd.
func roles() []role {
	return []role{
		{id: "pub-1", version: mqtt.V5, window: 16, next: message, on: span{200 * ms, 1000 * ms}, off: span{0, 400 * ms}},
		{id: "pub-2", version: mqtt.V311, window: 16, next: message, on: span{200 * ms, 1000 * ms}, off: span{0, 400 * ms}},
		{id: "pub-3", version: mqtt.V5, window: 16, next: message},
		{id: "ret-1", version: mqtt.V5, window: 3, next: retained},
		{id: "ret-2", version: mqtt.V311, window: 3, next: retained, on: span{200 * ms, 1000 * ms}, off: span{0, 200 * ms}},
		{id: "sub-stays", version: mqtt.V311, filters: []string{"m/#"}, qos: 2},
		{id: "sub-goes-1", version: mqtt.V5, filters: []string{"m/#"}, qos: 1, on: span{50 * ms, 400 * ms}, off: span{10 * ms, 200 * ms}},
		{id: "sub-goes-2", version: mqtt.V5, filters: []string{"m/+"}, qos: 2, on: span{100 * ms, 600 * ms}, off: span{10 * ms, 300 * ms}, receive: 20},
		{id: "sub-some", version: mqtt.V311, filters: []string{"m/0", "m/1"}, qos: 1, on: span{100 * ms, 500 * ms}, off: span{10 * ms, 300 * ms}},
		{id: "sub-far", version: mqtt.V5, filters: []string{"m/#"}, qos: 2, on: span{30 * ms, 100 * ms}, off: span{2000 * ms, 6000 * ms}},
		{id: "sub-toggles", version: mqtt.V5, toggles: []string{"m/2", "m/3", "m/4"}, qos: 1, on: span{200 * ms, 1500 * ms}, off: span{10 * ms, 50 * ms}},
		{id: "sub-renews", version: mqtt.V5, filters: []string{"m/5"}, toggles: []string{"m/1"}, qos: 2, on: span{100 * ms, 400 * ms}, off: span{10 * ms, 100 * ms}, renews: true},
		{id: "group-1", version: mqtt.V5, filters: []string{"$share/g/m/#"}, qos: 2, on: span{100 * ms, 900 * ms}, off: span{10 * ms, 200 * ms}},
		{id: "group-2", version: mqtt.V311, filters: []string{"$share/g/m/#"}, qos: 2},
		{id: "sub-retained", version: mqtt.V5, filters: []string{"r/#"}, qos: 1, on: span{100 * ms, 900 * ms}, off: span{10 * ms, 300 * ms}},
	}
}
