package mosquitto

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Limits of ours that stand for "none" of Mosquitto's.
const (
	maxMessages = 1 << 40
	maxBytes    = 1 << 60
	maxPacket   = 268_435_460
	minPacket   = 128
)

// takeLimit takes the numbers.
func (c *conversion) takeLimit(o *option) bool {
	limit := func(key string, low, high, unlimited uint64, note string) {
		n, err := strconv.ParseUint(o.value, 10, 63)
		if err != nil {
			c.note(o, Invalid, "", "it is a number, 0 or more")
			return
		}
		result := Mapped
		if n == 0 {
			n = unlimited
		}
		if v := min(max(n, low), high); v != n {
			n, result, note = v, Differs, strings.TrimPrefix(note+"; it is "+strconv.FormatUint(v, 10)+", the nearest that can be", "; ")
		} else if note != "" {
			result = Differs
		}
		c.set(&c.limits, key, n)
		c.note(o, result, "limits."+key, note)
	}
	switch o.name {
	case "max_inflight_messages":
		limit("max_inflight", 1, 65535, 65535, "")
	case "max_queued_messages":
		limit("max_queued_messages", 1, maxMessages, maxMessages, "")
	case "max_queued_bytes":
		limit("max_queued_bytes", 1, maxBytes, maxBytes, "")
	case "max_packet_size":
		c.sized = true
		limit("max_packet_size", minPacket, maxPacket, maxPacket, "")
	case "message_size_limit":
		if c.sized {
			c.note(o, None, "", "max_packet_size, which is there too, decides")
			return true
		}
		n, err := strconv.ParseUint(o.value, 10, 31)
		if err != nil {
			c.note(o, Invalid, "", "it is a number, 0 or more")
			return true
		}
		size := uint64(maxPacket)
		if n > 0 {
			size = min(n+1<<16+16, maxPacket) // the largest payload with the longest topic
		}
		c.set(&c.limits, "max_packet_size", size)
		c.note(o, Differs, "limits.max_packet_size", "a packet is limited, not its payload: room for the longest topic is added")
	default:
		return c.takeTime(o)
	}
	return true
}

// takeTime takes the durations.
func (c *conversion) takeTime(o *option) bool {
	seconds := func() (uint64, bool) {
		n, err := strconv.ParseUint(o.value, 10, 32)
		if err != nil {
			c.note(o, Invalid, "", "it is a number of seconds")
		}
		return n, err == nil
	}
	switch o.name {
	case "max_keepalive":
		if n, ok := seconds(); ok {
			c.set(&c.limits, "max_keep_alive", strconv.FormatUint(min(n, 65535), 10)+"s")
			c.note(o, Mapped, "limits.max_keep_alive", "")
		}
	case "sys_interval":
		if n, ok := seconds(); ok {
			c.set(&c.sys, "interval", strconv.FormatUint(n, 10)+"s")
			c.note(o, Mapped, "sys.interval", "")
		}
	case "persistent_client_expiration":
		d, ok := expiration(o.value)
		if !ok {
			c.note(o, Invalid, "", "it is a whole number and one of h, d, w, m, y")
			return true
		}
		c.expiring = true
		c.set(&c.limits, "max_session_expiry", strconv.FormatInt(int64(d/time.Hour), 10)+"h")
		c.note(o, Mapped, "limits.max_session_expiry", "")
	default:
		return false
	}
	return true
}

// expiration reads 1h, 2d, 3w, 4m or 5y, where a month has 30 days and a year 365.
func expiration(text string) (time.Duration, bool) {
	if text == "" {
		return 0, false
	}
	const day = 24 * time.Hour
	units := map[byte]time.Duration{'h': time.Hour, 'd': day, 'w': 7 * day, 'm': 30 * day, 'y': 365 * day}
	unit := units[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 31)
	if err != nil || n == 0 || unit == 0 || n > uint64(math.MaxInt64/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// set sets a key, which may be there already.
func (c *conversion) set(section *yaml.MapSlice, key string, value any) {
	for i := range *section {
		if (*section)[i].Key == key {
			(*section)[i].Value = value
			return
		}
	}
	*section = append(*section, yaml.MapItem{Key: key, Value: value})
}

// takeGeneral takes what is left that has an equivalent.
func (c *conversion) takeGeneral(o *option) bool {
	switch o.name {
	case "persistence":
		if on, ok := c.boolean(o); ok {
			c.kept, c.stored = on, true
			if on {
				c.note(o, Differs, "durability", "everything is synced to disk before it is acknowledged (fsync), not from time to time; process is quicker and survives all but a power cut")
			} else {
				c.note(o, Mapped, "durability", "")
			}
		}
	case "persistence_location":
		c.location = o.value
		c.note(o, Differs, "data", "a directory of its own below: Mosquitto's database is not read")
	case "memory_limit":
		n, err := strconv.ParseUint(o.value, 10, 62)
		switch {
		case err != nil:
			c.note(o, Invalid, "", "it is a number, 0 or more")
		case n == 0:
			c.note(o, Needless, "", "")
		default:
			c.set(&c.overload, "memory_limit", n)
			c.note(o, Differs, "overload.memory_limit", "memory is not refused at the limit: before it is reached, load is shed in the order that overload says")
		}
	case "allow_duplicate_messages":
		if on, ok := c.boolean(o); ok {
			way := "merge"
			if on {
				way = "each"
			}
			c.set(&c.delivery, "overlapping", way)
			c.note(o, Mapped, "delivery.overlapping", "")
		}
	case "log_type":
		c.logType(o)
	default:
		return c.takeSwitch(o)
	}
	return true
}

// takeSwitch takes options that are as we are anyhow, in one of their positions.
func (c *conversion) takeSwitch(o *option) bool {
	needless := map[string]struct {
		value bool
		why   string // of the other
	}{
		"retain_available":           {true, ""},
		"allow_zero_length_clientid": {true, "clients of MQTT 3.1.1 and 5 may leave their id to the broker"},
		"upgrade_outgoing_qos":       {false, "a message is never delivered with a higher QoS than it was published with"},
		"queue_qos0_messages":        {false, "QoS 0 messages are not kept for clients that are away"},
		"set_tcp_nodelay":            {true, "it is always on"},
		"check_retain_source":        {true, "whether somebody may publish a retained message is decided when it is published, and rules about retained messages can deny it"},
		"log_timestamp":              {true, "each record has its time"},
		"connection_messages":        {true, "log.level decides"},
		"use_username_as_clientid":   {false, "a session belongs to the user that made it: nobody else can take it over"},
	}
	n, ok := needless[o.name]
	if !ok {
		return false
	}
	on, ok := c.boolean(o)
	switch {
	case !ok:
	case on == n.value && o.name != "retain_available":
		c.note(o, Needless, "", "")
	case o.name == "retain_available":
		c.set(&c.limits, "retain", on)
		c.note(o, Mapped, "limits.retain", "")
	default:
		c.note(o, None, "", n.why)
	}
	return true
}

// logType lowers the level to what is to be logged.
func (c *conversion) logType(o *option) {
	levels := map[string]int{
		"debug": 0, "all": 0, "subscribe": 0, "unsubscribe": 0, "websockets": 0,
		"information": 1, "notice": 1, "warning": 2, "error": 3, "none": 3,
	}
	level, ok := levels[o.value]
	switch {
	case !ok:
		c.note(o, Invalid, "", "there is no such type")
		return
	case c.level < 0 || level < c.level:
		c.level = level
	}
	c.note(o, Differs, "log.level", "a level and all that is more severe")
}

// without tells why an option has no equivalent.
func without(name string) (why string, ok bool) {
	if strings.HasPrefix(name, "auth_opt_") || strings.HasPrefix(name, "plugin_opt_") {
		return "it belongs to a plugin", true
	}
	why, ok = map[string]string{
		"auth_plugin_deny_special_chars":  "names with wildcards never stand in the place of a placeholder in a rule",
		"auto_id_prefix":                  "ids that the broker makes begin with auto-",
		"autosave_interval":               "nothing is acknowledged before it is kept",
		"autosave_on_changes":             "nothing is acknowledged before it is kept",
		"persistence_file":                "the data directory has files of its own",
		"store_clean_interval":            "space is given back all the time",
		"retry_interval":                  "nothing is sent again while a connection lasts, as the standard says",
		"max_inflight_bytes":              "limits.max_inflight counts messages",
		"clientid_prefixes":               "rules can be for client ids: authorization.rules with clients: [prefix*]",
		"log_dest":                        "logs go to standard error, for systemd or a container to take",
		"log_facility":                    "logs go to standard error",
		"log_timestamp_format":            "times are as RFC 3339 says",
		"pid_file":                        "systemd and containers need none",
		"user":                            "start it as the user that it is to be, such as by User= of systemd",
		"psk_file":                        "TLS with pre-shared keys is not spoken; use certificates: sapwood cert",
		"psk_hint":                        "TLS with pre-shared keys is not spoken",
		"bind_interface":                  "write the interface's address as listeners.address",
		"http_dir":                        "no files are served",
		"websockets_log_level":            "log.level decides",
		"websockets_headers_size":         "headers have a fixed bound",
		"websockets_origin":               "write it as listeners.origins",
		"packet_buffer_size":              "buffers follow what they hold",
		"ciphers":                         "the cipher suites are those that Go takes for safe",
		"ciphers_tls1.3":                  "the cipher suites are those that Go takes for safe",
		"dhparamfile":                     "only key exchanges by elliptic curves are used",
		"tls_engine":                      "keys are read from files",
		"tls_engine_kpass_sha1":           "keys are read from files",
		"tls_keyform":                     "keys are read from files, as PEM",
		"enable_control_api":              "there is an HTTP API: http.address",
		"max_topic_alias_broker":          "write it as limits.max_send_aliases",
		"global_max_clients":              "write it as limits.max_connections",
		"global_max_connections":          "write it as limits.max_connections",
		"accept_protocol_versions":        "write it as listeners.versions",
		"enable_proxy_protocol":           "write the proxies' networks as listeners.proxy.trusted",
		"proxy_protocol_v2_require_tls":   "write the proxies' networks as listeners.proxy.trusted",
		"disable_client_cert_date_checks": "certificates that have expired are refused",
	}[name]
	return why, ok
}

// isBridgeOption tells whether an option is about a bridge.
func isBridgeOption(name string) bool {
	if strings.HasPrefix(name, "bridge_") || strings.HasPrefix(name, "local_") || strings.HasPrefix(name, "remote_") || strings.HasPrefix(name, "notification") {
		return true
	}
	switch name {
	case "address", "addresses", "cleansession", "clean_session", "clientid", "idle_timeout", "keepalive_interval", "password", "restart_timeout",
		"round_robin", "start_type", "threshold", "topic", "try_private", "username":
		return true
	}
	return false
}
