package main

// A row is one line of the comparison: a scenario of `sapwood bench` and the figures
// read from it.
type row struct {
	name    string
	args    []string // of `sapwood bench`
	flow    bool     // a measured duration, which --duration sets
	rated   bool     // open loop: the broker is not saturated, and need not be
	figures []figure
}

// A figure is one number of a row. The anchors are the figures of the peers and the
// aim of Sapwood from the project's anchor table (measured on 2-core machines with
// the broker on one core and the load on the other, brokers in alternation): FlashMQ
// 1.26 and Mosquitto 2.0, of a range the lower end, since the best of several rounds
// is taken here too. Their absolute values do not travel between machines; their
// ratio does, so it stands beside the ratio that is measured.
type figure struct {
	key       string // in the result of `sapwood bench`
	text      string
	unit      string
	flashmq   float64
	mosquitto float64
	aim       float64
}

func perMessage(flashmq, mosquitto, aim float64) []figure {
	return []figure{{"cpu", "", "µs", flashmq, mosquitto, aim}}
}

// rows is the comparison, in the order of the anchor table.
func rows() []row {
	return []row{
		{name: "fan-in 100 → 1, QoS 0", args: []string{"fan-in"}, flow: true, figures: perMessage(0.52, 7.86, 0.5)},
		{name: "fan-in 100 → 1, QoS 1", args: []string{"fan-in", "--qos=1"}, flow: true, figures: perMessage(1.15, 17.5, 1.0)},
		{name: "fan-out 1 → 1,000, QoS 0", args: []string{"fan-out"}, flow: true, figures: perMessage(1.47, 14.74, 1.5)},
		{name: "500 pairs, QoS 0", args: []string{"pairs"}, flow: true, figures: perMessage(2.5, 12.72, 1.5)},
		{name: "500 pairs, QoS 1", args: []string{"pairs", "--qos=1"}, flow: true, figures: perMessage(3.47, 26, 3)},
		{name: "500 pairs, QoS 2", args: []string{"pairs", "--qos=2"}, flow: true, figures: perMessage(5.9, 42.1, 5)},
		{name: "shared group 100 → 5, QoS 0", args: []string{"shared"}, flow: true, figures: perMessage(0.64, 9.45, 0.6)},
		{name: "10,000 `+` subscriptions, 50 → 50", args: []string{"wildcard"}, flow: true, figures: perMessage(2.40, 12.85, 1.5)},
		{
			name: "fan-in at 20,000/s from 1,000 (Poisson)", flow: true, rated: true,
			args: []string{"fan-in", "--clients=1000", "--rate=20000", "--arrivals=poisson"}, figures: perMessage(13.8, 17.0, 14),
		},
		{name: "latency at 5,000/s over 100 pairs", args: []string{"latency"}, flow: true, rated: true, figures: []figure{
			{"latency_p50", "p50", "µs", 0, 0, 0},
			{"latency_p99", "p99", "µs", 0, 0, 0},
		}},
		{name: "connect + CONNACK", args: []string{"connect"}, rated: true, figures: []figure{{"connect_cpu", "", "µs", 50, 39, 39}}},
		{name: "persistent session", args: []string{"session"}, rated: true, figures: []figure{
			{"create_cpu", "create", "µs", 76, 59, 59},
			{"resume_cpu", "resume", "µs", 58, 38, 38},
		}},
		{name: "200,000 retained topics", args: []string{"retained", "--qos=1"}, rated: true, figures: []figure{
			{"set_cpu", "set", "µs", 2.7, 13.6, 2.5},
			{"rss_bytes", "memory per topic", "B", 1097, 1188, 500},
			{"deliver_cpu", "deliver", "µs", 1.1, 3.4, 1.0},
		}},
		{name: "offline queue, 100 sessions, QoS 1", args: []string{"offline"}, rated: true, figures: []figure{
			{"in_cpu", "in", "µs", 2.6, 13, 2.5},
			{"rss_bytes", "memory per message", "B", 628, 400, 64},
			{"out_cpu", "out", "µs", 2.5, 4, 2.5},
		}},
		{name: "idle subscribed connection", args: []string{"idle"}, rated: true, figures: []figure{{"rss_bytes", "", "B", 5527, 1808, 1024}}},
	}
}
