package mosquitto

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// listener is one listener of Mosquitto's.
type listener struct {
	scope
	at          *option // nil = the one that is there without being asked for
	port        int
	host        string // an address, or the path of a socket where port is 0
	family      string // ipv4, ipv6 or "" for both
	asked       bool   // something was said about the listener without a name
	websocket   bool
	mount       string
	connections int
	qos, alias  *int
	aliasFrom   *option
	qosFrom     *option
	cert, key   string
	ca, crl     string
	version     string
	required    bool
	identity    string // of the certificate, that is the user name: cn or subject
}

const anyPort = 1883

func (c *conversion) begin() {
	c.first = &listener{port: anyPort}
	c.now = c.first
}

// listen begins a listener: port [address or path].
func (c *conversion) listen(o *option) {
	port, host, _ := strings.Cut(o.value, " ")
	n, err := strconv.ParseUint(port, 10, 16)
	host = strings.TrimSpace(host)
	if err != nil || n == 0 && !strings.HasPrefix(host, "/") {
		c.note(o, Invalid, "", "a listener has a port, or 0 and the path of a socket")
		c.now = &listener{} // its lines are read, and lead to nothing
		c.lost = append(c.lost, c.now)
		return
	}
	c.now = &listener{at: o, port: int(n), host: host}
	c.listeners = append(c.listeners, c.now)
	c.note(o, Mapped, "listeners", "")
}

// takeListener takes an option about the present listener.
func (c *conversion) takeListener(o *option) bool {
	l := c.now
	if l.textOption(o) {
		c.note(o, Mapped, "listeners."+listenerKeys[o.name], "")
	} else if !c.takeDoor(l, o) && !c.takeTLS(l, o) {
		return false
	}
	if l == c.first {
		l.asked = true
	}
	return true
}

// listenerKeys are the options of a listener that are taken as they are.
var listenerKeys = map[string]string{
	"mount_point": "mount_point", "certfile": "tls.certificate", "keyfile": "tls.key", "crlfile": "tls.crl",
}

func (l *listener) textOption(o *option) bool {
	switch o.name {
	case "mount_point":
		l.mount = o.value
	case "certfile":
		l.cert = o.value
	case "keyfile":
		l.key = o.value
	case "crlfile":
		l.crl = o.value
	default:
		return false
	}
	return true
}

// takeDoor takes what is about the address and the connections.
func (c *conversion) takeDoor(l *listener, o *option) bool {
	switch o.name {
	case "port":
		n, err := strconv.ParseUint(o.value, 10, 16)
		if err != nil || n == 0 || l != c.first {
			c.note(o, Invalid, "", "port is for the listener without a name, and from 1 to 65535")
			return true
		}
		l.port = int(n)
		c.note(o, Mapped, "listeners.address", "")
	case "bind_address":
		l.host = o.value
		c.note(o, Mapped, "listeners.address", "")
	case "socket_domain":
		if o.value != "ipv4" && o.value != "ipv6" {
			c.note(o, Invalid, "", "it is ipv4 or ipv6")
			return true
		}
		l.family = o.value
		c.note(o, Mapped, "listeners.address", "")
	case "protocol":
		switch o.value {
		case "mqtt":
			c.note(o, Needless, "", "")
		case "websockets":
			l.websocket = true
			c.note(o, Differs, "listeners.protocol", "clients ask for the path /mqtt, or what listeners.path says; Mosquitto takes any")
		default:
			c.note(o, None, "", "there are mqtt and websockets; the HTTP API has a listener of its own, http.address")
		}
	case "max_connections":
		n, err := strconv.Atoi(o.value)
		if err != nil || n < -1 {
			c.note(o, Invalid, "", errValue.Error())
			return true
		}
		l.connections = max(n, 0)
		c.note(o, Mapped, "listeners.limits.max_connections", "")
	case "max_qos", "maximum_qos":
		n, err := strconv.Atoi(o.value)
		if err != nil || n < 0 || n > 2 {
			c.note(o, Invalid, "", errValue.Error())
			return true
		}
		l.qos, l.qosFrom = &n, o
	case "max_topic_alias":
		n, err := strconv.ParseUint(o.value, 10, 16)
		if err != nil {
			c.note(o, Invalid, "", errValue.Error())
			return true
		}
		alias := int(n)
		l.alias, l.aliasFrom = &alias, o
	default:
		return false
	}
	return true
}

// takeTLS takes what is about TLS.
func (c *conversion) takeTLS(l *listener, o *option) bool {
	switch o.name {
	case "cafile":
		l.ca = o.value
		c.note(o, Mapped, "listeners.tls.client_ca", "where require_certificate is true; else clients are not asked for certificates")
	case "capath":
		if l.ca == "" {
			l.ca = o.value
		}
		c.note(o, Differs, "listeners.tls.client_ca", "it is one file: put the certificates of the directory into it; until then nothing starts that requires one")
	case "tls_version":
		switch o.value {
		case "tlsv1.3":
			l.version = "1.3"
			c.note(o, Mapped, "listeners.tls.min_version", "")
		case "tlsv1.2":
			l.version = "1.2"
			c.note(o, Mapped, "listeners.tls.min_version", "")
		default:
			l.version = "1.2"
			c.note(o, Differs, "listeners.tls.min_version", "what is older than TLS 1.2 is not spoken")
		}
	case "require_certificate":
		on, ok := c.boolean(o)
		if !ok {
			return true
		}
		l.required = on
		c.note(o, Mapped, "listeners.tls.client_certificate", "")
	case "use_identity_as_username", "use_subject_as_username":
		on, ok := c.boolean(o)
		if !ok {
			return true
		}
		if !on {
			c.note(o, Needless, "", "")
			return true
		}
		l.identity = "cn"
		if o.name == "use_subject_as_username" {
			l.identity = "subject"
			c.note(o, Differs, "authentication.certificate.identity", "the subject is written as RFC 2253 says: compare the names in rules")
			return true
		}
		c.note(o, Mapped, "authentication.certificate.identity", "")
	default:
		return false
	}
	return true
}

// open lists the listeners that Mosquitto would open.
func (c *conversion) open() []*listener {
	if !c.first.asked && len(c.listeners) > 0 {
		return c.listeners
	}
	if c.first.asked {
		return append([]*listener{c.first}, c.listeners...)
	}
	// Without any, only this machine is served, and everybody on it.
	all := true
	c.fallback("listener", "1883", Mapped, "listeners", "without a listener, Mosquitto serves this machine only, and without authentication")
	if s := c.scopeOf(c.first); s.anonymous == nil {
		s.anonymous = &all
	}
	six := *c.first
	c.first.host, six.host = "127.0.0.1", "::1"
	return []*listener{c.first, &six}
}

// address is where the listener listens, as we write it.
func (l *listener) address() string {
	if l.port == 0 {
		return "unix:" + l.host
	}
	host := l.host
	if host == "" {
		switch l.family {
		case "ipv4":
			host = "0.0.0.0"
		case "ipv6":
			host = "::"
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(l.port))
}

// local tells whether only this machine can reach it.
func (l *listener) local() bool {
	ip := net.ParseIP(l.host)
	return l.port == 0 || l.host == "localhost" || ip != nil && ip.IsLoopback()
}

// tls tells whether TLS is spoken.
func (l *listener) tls() bool { return l.cert != "" }

func (c *conversion) yaml(l *listener) yaml.MapSlice {
	out := yaml.MapSlice{}
	add := func(key string, v any) { out = append(out, yaml.MapItem{Key: key, Value: v}) }
	add("address", l.address())
	if l.websocket {
		add("protocol", "websocket")
	}
	if l.mount != "" {
		add("mount_point", l.mount)
	}
	open := c.scopeOf(l).open()
	switch {
	case l.local():
	case open && l.identity == "":
		add("anonymous", true)
	case !l.tls():
		add("plaintext", true)
		c.fallback("listener", l.address(), Differs, "listeners.plaintext", "passwords cross the network unencrypted, as they do with Mosquitto; a certificate makes this needless")
	}
	if l.tls() {
		tls := yaml.MapSlice{{Key: "certificate", Value: []string{l.cert}}}
		if l.key != "" {
			tls = append(tls, yaml.MapItem{Key: "key", Value: []string{l.key}})
		}
		if l.version != "" {
			tls = append(tls, yaml.MapItem{Key: "min_version", Value: l.version})
		}
		if l.required && l.ca != "" {
			tls = append(tls, yaml.MapItem{Key: "client_ca", Value: l.ca}, yaml.MapItem{Key: "client_certificate", Value: "required"})
			if l.crl != "" {
				tls = append(tls, yaml.MapItem{Key: "crl", Value: l.crl})
			}
		}
		add("tls", tls)
	}
	if l.connections > 0 {
		add("limits", yaml.MapSlice{{Key: "max_connections", Value: l.connections}})
	}
	if c.mixed {
		add("authentication", c.chain(l))
	}
	return out
}

// boolean reads true or false.
func (c *conversion) boolean(o *option) (value, ok bool) {
	switch o.value {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	c.note(o, Invalid, "", fmt.Sprintf("it is true or false, not %q", o.value))
	return false, false
}
