package chain_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/app/settings"
	"github.com/sapwood-mqtt/sapwood/broker/auth/certificate"
	"github.com/sapwood-mqtt/sapwood/broker/auth/chain"
	"github.com/sapwood-mqtt/sapwood/broker/auth/jwt"
	"github.com/sapwood-mqtt/sapwood/broker/auth/ldap"
	"github.com/sapwood-mqtt/sapwood/broker/auth/postgres"
	"github.com/sapwood-mqtt/sapwood/broker/auth/webhook"
)

// authentication is the section as far as these backends go.
type authentication struct {
	Chain       []string           `yaml:"chain"`
	Cache       chain.Cache        `yaml:"cache"`
	Circuit     chain.Circuit      `yaml:"circuit"`
	Refresh     chain.Refresh      `yaml:"refresh"`
	Certificate certificate.Config `yaml:"certificate"`
	JWT         jwt.Config         `yaml:"jwt"`
	HTTP        webhook.Config     `yaml:"http"`
	Postgres    postgres.Config    `yaml:"postgres"`
	LDAP        ldap.Config        `yaml:"ldap"`
}

type file struct {
	Authentication authentication `yaml:"authentication"`
}

func defaults() *file {
	return &file{authentication{
		Cache: chain.DefaultCache(), Circuit: chain.DefaultCircuit(), Refresh: chain.DefaultRefresh(), Certificate: certificate.DefaultConfig(),
		JWT: jwt.DefaultConfig(), HTTP: webhook.DefaultConfig(), Postgres: postgres.DefaultConfig(), LDAP: ldap.DefaultConfig(),
	}}
}

// TestExamples: what the documentation shows loads, passes all checks, and lacks nothing.
func TestExamples(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/authentication.md")
	if err != nil {
		t.Fatal(err)
	}
	ours := []string{"certificate", "jwt", "http", "postgres", "ldap"}
	seen := map[string]bool{}
	for _, found := range regexp.MustCompile("(?s)```yaml\n(authentication:.*?)```").FindAllStringSubmatch(string(doc), -1) {
		text := found[1]
		names := strings.Split(strings.ReplaceAll(regexp.MustCompile(`chain: \[(.*?)\]`).FindStringSubmatch(text)[1], " ", ""), ",")
		if slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(ours, n) }) {
			continue // another package's example
		}
		f := defaults()
		if _, err := settings.Load(f, settings.Source{File: "authentication.md", Data: []byte(text), Refer: func(string, string) (string, error) { return "a secret", nil }}); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		a := &f.Authentication
		usable := map[string]func() error{"jwt": a.JWT.Usable, "http": a.HTTP.Usable, "postgres": a.Postgres.Usable, "ldap": a.LDAP.Usable}
		for _, n := range names {
			seen[n] = true
			if f := usable[n]; f != nil && f() != nil {
				t.Errorf("%s: %v", n, f())
			}
		}
	}
	if len(seen) != len(ours) {
		t.Errorf("only %v have an example", seen)
	}
}

// TestDefaults: what nobody has touched is in order, also of backends that are not in the chain.
func TestDefaults(t *testing.T) {
	f := defaults()
	if _, err := settings.Load(f, settings.Source{File: "x", Data: []byte("authentication:\n")}); err != nil {
		t.Error(err)
	}
}
