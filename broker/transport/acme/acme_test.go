package acme_test

import (
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/transport/acme"
)

func TestCheck(t *testing.T) {
	f := func(want string, change func(*acme.Config)) {
		t.Helper()
		c := acme.DefaultConfig()
		c.Names, c.Agree = []string{"broker.example.com"}, true
		change(&c)
		var got []string
		c.Check(func(key, _, _ string) { got = append(got, key) })
		if strings.Join(got, " ") != want {
			t.Errorf("%+v: got %v, want %q", c, got, want)
		}
	}
	f("", func(*acme.Config) {})
	f("", func(c *acme.Config) { *c = acme.DefaultConfig() })
	f("", func(c *acme.Config) { c.Address = "192.0.2.1:8080" })
	f("agree_terms", func(c *acme.Config) { c.Agree = false })
	f("names", func(c *acme.Config) { c.Names = []string{"*.example.com"} })
	f("directory", func(c *acme.Config) { c.Directory = "http://ca.example.com/dir" })
	f("challenge_address", func(c *acme.Config) { c.Address = "80" })
	f("challenge_address", func(c *acme.Config) { c.Address = ":0" })
}
