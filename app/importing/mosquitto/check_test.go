package mosquitto_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/app/importing/mosquitto"
	"github.com/sapwood-mqtt/sapwood/app/settings"
	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/admission"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/broker/auth/certificate"
	"github.com/sapwood-mqtt/sapwood/broker/auth/password"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/transport"
)

// sections are those that an import may write, as they are where they live.
type sections struct {
	Data       string     `yaml:"data"`
	Durability string     `yaml:"durability" enum:"fsync,process,memory"`
	Listeners  []listener `yaml:"listeners"`
	Authn      struct {
		Chain       []string           `yaml:"chain"`
		Password    password.Config    `yaml:"password"`
		Certificate certificate.Config `yaml:"certificate"`
	} `yaml:"authentication"`
	Authz acl.Config `yaml:"authorization"`
	Log   struct {
		Level string `yaml:"level" enum:"debug,info,warn,error"`
	} `yaml:"log"`
	Limits   broker.Limits   `yaml:"limits"`
	Delivery broker.Delivery `yaml:"delivery"`
	Overload overload.Config `yaml:"overload"`
	Sys      struct {
		Interval time.Duration `yaml:"interval"`
	} `yaml:"sys"`
}

type listener struct {
	Address   string              `yaml:"address"`
	Protocol  string              `yaml:"protocol" enum:"mqtt,websocket"`
	Anonymous bool                `yaml:"anonymous"`
	Plaintext bool                `yaml:"plaintext"`
	Mount     string              `yaml:"mount_point"`
	Authn     []string            `yaml:"authentication"`
	TLS       transport.TLSConfig `yaml:"tls"`
	Limits    admission.Limits    `yaml:"limits"`
}

func (l *listener) SetDefaults() { l.Limits = admission.DefaultLimits() }

// What an import writes is taken by the sections that it is for.
func TestResultIsTaken(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	options, err := os.ReadFile("testdata/options.txt")
	if err != nil {
		t.Fatal(err)
	}
	f := func(name, text string) {
		t.Helper()
		c := sections{Authz: acl.DefaultConfig(), Limits: broker.DefaultLimits(), Delivery: broker.DefaultDelivery(), Overload: overload.Defaults()}
		c.Authn.Password, c.Authn.Certificate = password.DefaultConfig(), certificate.DefaultConfig()
		_, err := settings.Load(&c, settings.Source{File: name, Data: []byte(text)})
		var problems settings.Problems
		if errors.As(err, &problems) {
			for _, p := range problems {
				t.Error(p.Text())
			}
		}
		if len(c.Listeners) == 0 {
			t.Errorf("%s has no listener", name)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		result, _, _ := strings.Cut(string(text), "--- report")
		f(file, result)
	}
	for line := range strings.Lines(string(options)) {
		r, err := mosquitto.Import("f", one("listener 1883\ncertfile c\n"+line))
		if err != nil {
			continue // include_dir
		}
		f(strings.TrimSpace(line), r.YAML)
	}
}

// one is the only file.
type one string

func (o one) Read(string) ([]byte, error)   { return []byte(o), nil }
func (o one) List(string) ([]string, error) { return nil, os.ErrNotExist }
