package app

import (
	"fmt"
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/auth/certificate"
	"github.com/sapwood-mqtt/sapwood/broker/auth/chain"
	"github.com/sapwood-mqtt/sapwood/broker/auth/jwt"
	"github.com/sapwood-mqtt/sapwood/broker/auth/ldap"
	"github.com/sapwood-mqtt/sapwood/broker/auth/password"
	"github.com/sapwood-mqtt/sapwood/broker/auth/postgres"
	"github.com/sapwood-mqtt/sapwood/broker/auth/scram"
	"github.com/sapwood-mqtt/sapwood/broker/auth/webhook"
)

// Authentication is who may connect.
type Authentication struct {
	Chain       []string           `yaml:"chain" doc:"The backends that are asked who a client is, in this order, by the names of their sections. Who is not known to one is shown to the next; a backend that cannot be asked refuses. Empty: nobody is asked, and everybody is anonymous."`
	Cache       chain.Cache        `yaml:"cache" doc:"How long the answers of http, postgres and ldap are good for."`
	Circuit     chain.Circuit      `yaml:"circuit" doc:"What keeps a server that fails from being asked on and on."`
	Refresh     chain.Refresh      `yaml:"refresh" doc:"How what is known of connected clients is kept true."`
	Password    password.Config    `yaml:"password" doc:"User names and passwords: those that are stored (sapwood users), and password files."`
	Certificate certificate.Config `yaml:"certificate" doc:"Client certificates, on listeners with tls.client_ca."`
	JWT         jwt.Config         `yaml:"jwt" doc:"Signed tokens."`
	HTTP        webhook.Config     `yaml:"http" doc:"A server of your own that is asked by HTTP."`
	Postgres    postgres.Config    `yaml:"postgres" doc:"A PostgreSQL database."`
	LDAP        ldap.Config        `yaml:"ldap" doc:"A directory."`
	Scram       []string           `yaml:"scram" reload:"restart" doc:"Methods of enhanced authentication (MQTT 5) that are offered to stored users: SCRAM-SHA-256, SCRAM-SHA-512. Their keys are made when a password is set."`
}

func defaultAuthentication() Authentication {
	return Authentication{
		Cache: chain.DefaultCache(), Circuit: chain.DefaultCircuit(), Refresh: chain.DefaultRefresh(),
		Password: password.DefaultConfig(), Certificate: certificate.DefaultConfig(), JWT: jwt.DefaultConfig(), HTTP: webhook.DefaultConfig(),
		Postgres: postgres.DefaultConfig(), LDAP: ldap.DefaultConfig(),
	}
}

// backends are the names that a chain may have.
func backends() []string {
	return []string{"certificate", "password", "jwt", "http", "postgres", "ldap"}
}

// Check refuses unknown methods; what the chain needs is looked at by the whole configuration.
func (c *Authentication) Check(bad func(key, message, fix string)) {
	for _, m := range c.Scram {
		if m != scram.SHA256 && m != scram.SHA512 {
			bad("scram", fmt.Sprintf("%q is no method", m), "take "+scram.SHA256+" or "+scram.SHA512)
		}
	}
}

// asked are the backends that any listener asks, each once.
func (c *Config) asked() []string {
	names := slices.Clone(c.Authentication.Chain)
	for _, l := range c.Listeners {
		names = append(names, l.Backends...)
	}
	names = append(names, c.HTTP.MQTT.Backends...)
	var once []string
	for _, n := range names {
		if !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return once
}

// checkBackends refuses backends that there are not, or that lack what they need.
func (c *Config) checkBackends(bad func(key, message, fix string)) {
	known := func(key string, names []string) {
		for _, n := range names {
			if !slices.Contains(backends(), n) {
				bad(key, fmt.Sprintf("%q is no backend", n), "there are certificate, password, jwt, http, postgres and ldap")
			}
		}
	}
	known("authentication.chain", c.Authentication.Chain)
	for i, l := range c.Listeners {
		known(listenerKey(i)+".authentication", l.Backends)
	}
	known("http.mqtt.authentication", c.HTTP.MQTT.Backends)
	a := &c.Authentication
	for name, usable := range map[string]func() error{"jwt": a.JWT.Usable, "http": a.HTTP.Usable, "postgres": a.Postgres.Usable, "ldap": a.LDAP.Usable} {
		if !slices.Contains(c.asked(), name) {
			continue
		}
		if err := usable(); err != nil {
			bad("authentication."+name, err.Error(), "set it, or take "+name+" out of the chain")
		}
	}
}

// later tells whether somebody is asked after a backend, on any listener.
func (c *Config) later(name string) bool {
	after := func(names []string) bool {
		i := slices.Index(names, name)
		return i >= 0 && i < len(names)-1
	}
	return after(c.Authentication.Chain) || after(c.HTTP.MQTT.Backends) ||
		slices.ContainsFunc(c.Listeners, func(l Listener) bool { return after(l.Backends) })
}
