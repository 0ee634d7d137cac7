package app

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/sapwood-mqtt/sapwood/app/settings"
)

// envPrefix begins the variables that override settings.
const envPrefix = "SAPWOOD"

// EnvConfig is the variable that names the configuration file. It is not itself a setting.
const EnvConfig = envPrefix + "_CONFIG"

// Flags are the settings that a command line can override, by the flag that does: "--mqtt" sets the
// address of the first listener.
func Flags() map[string]string {
	return map[string]string{"data": "--data", "listeners[0].address": "--mqtt", "http.address": "--http"}
}

// Source is where a configuration comes from, at the start and at each reload.
type Source struct {
	File    string            // "" for none
	Environ []string          // as os.Environ gives it
	Flags   map[string]string // key to text
}

// Loaded is a configuration that can be read again.
type Loaded struct {
	Config Config
	Set    *settings.Set
	Source Source
	when   time.Time // before anything was read
}

// Load reads the configuration: defaults, then the file, then the environment, then the flags. What is wrong with it
// comes back as settings.Problems.
func (s Source) Load() (*Loaded, error) {
	var data []byte
	if s.File != "" {
		var err error
		if data, err = os.ReadFile(s.File); err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
	}
	return s.parse(data)
}

// parse is Load with data in the place of what is in the file.
func (s Source) parse(data []byte) (*Loaded, error) {
	file := s.File
	if file == "" && data != nil {
		file = "configuration"
	}
	l := &Loaded{Config: DefaultConfig(), Source: s, when: time.Now()}
	var err error
	l.Set, err = settings.Load(&l.Config, settings.Source{
		File: file, Data: data,
		Prefix: envPrefix, Environ: s.Environ, Ignore: notSettings(),
		Flags: s.Flags, FlagOf: Flags(), Refer: references(s.Environ),
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Load reads a configuration once: from file (none for ""), environ as os.Environ gives it, and flags from key to text. What
// is wrong with it comes back as settings.Problems.
func Load(file string, environ []string, flags map[string]string) (Config, *settings.Set, error) {
	l, err := Source{file, environ, flags}.Load()
	if err != nil {
		return Config{}, nil, err
	}
	return l.Config, l.Set, nil
}

// notSettings are the variables under the prefix that mean something to other commands, or to a part that
// reads them itself; a shell that has them set can still serve.
func notSettings() []string {
	return []string{
		EnvConfig,
		EnvAdminPassword, "SAPWOOD_API_KEY", "SAPWOOD_API_URL", // the API
		"SAPWOOD_URL", "SAPWOOD_USERNAME", "SAPWOOD_PASSWORD", // pub and sub
		"SAPWOOD_BENCH_PASSWORD", // bench
		"SAPWOOD_STRESS",         // the broker's stress test
	}
}

// Schema describes the configuration file.
func Schema() *jsonschema.Schema {
	cfg := DefaultConfig()
	return settings.Schema(&cfg, "https://sapwood-mqtt.github.io/schema/config.json", "Sapwood configuration")
}

// Example is a configuration file with every key at its default.
func Example() string {
	cfg := DefaultConfig()
	return `# Sapwood: every setting with its default. A file needs only what differs.
#   check it     sapwood config check sapwood.yaml
#   ask about it sapwood config explain listeners
# Each key can be overridden by a variable: http.address by SAPWOOD_HTTP_ADDRESS,
# the first listener's address by SAPWOOD_LISTENERS_0_ADDRESS.
# Sizes are written 65536, 64KiB or 1MiB; durations 500ms, 10s, 2h or 7d.

` + settings.Example(&cfg)
}

// SecretKeys are the settings whose values are never shown.
func SecretKeys() []settings.Key {
	cfg := DefaultConfig()
	return slices.DeleteFunc(settings.Keys(&cfg, envPrefix), func(k settings.Key) bool { return !k.Secret })
}
