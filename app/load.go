package app

import (
	"fmt"
	"os"

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

// Load reads the configuration: defaults, then file (none for ""), then environ as os.Environ gives
// it, then flags from key to text. What is wrong with it comes back as settings.Problems.
func Load(file string, environ []string, flags map[string]string) (Config, *settings.Set, error) {
	var data []byte
	if file != "" {
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return Config{}, nil, fmt.Errorf("read the configuration: %w", err)
		}
	}
	cfg := DefaultConfig()
	set, err := settings.Load(&cfg, settings.Source{
		File: file, Data: data,
		Prefix: envPrefix, Environ: environ, Ignore: notSettings(),
		Flags: flags, FlagOf: Flags(),
	})
	return cfg, set, err
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
