package reach

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/lock"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
)

// Place says which configuration is meant, and with it which data directory.
type Place struct {
	Config string  `short:"c" placeholder:"FILE" env:"SAPWOOD_CONFIG" help:"Configuration file (YAML). Without one, the defaults hold."`
	Data   *string `placeholder:"DIR" help:"Directory for what outlives the process (key data)."`
}

func (p *Place) load() (app.Config, error) {
	flags := map[string]string{}
	for key, flag := range app.Flags() {
		if flag == "--data" && p.Data != nil {
			flags[key] = *p.Data
		}
	}
	cfg, _, err := app.Load(p.Config, os.Environ(), flags)
	return cfg, err
}

// APIFlags say how the API of a running broker is reached.
type APIFlags struct {
	Elsewhere
	Credentials
}

// Elsewhere is a broker that is not found by its data directory.
type Elsewhere struct {
	URL string `name:"url" placeholder:"URL" env:"SAPWOOD_API_URL" help:"API of a broker elsewhere: http://host:port."`
}

// Credentials are those for the API.
type Credentials struct {
	User     string `default:"admin" help:"Operator for the API."`
	Password string `env:"SAPWOOD_ADMIN_PASSWORD" placeholder:"TEXT" help:"Its password. A broker on the same machine needs none."`
	Key      string `env:"SAPWOOD_API_KEY" placeholder:"TEXT" help:"Key for the API, in place of user and password."`
}

// Broker finds the running broker: at --url, or the one that has the directory; nil where none does.
func (f *APIFlags) Broker(dir string) (*Broker, error) { return f.Credentials.broker(f.URL, dir) }

// Flags say which running broker is meant. The password for its API is not to be mistaken for the one of a user that
// a command changes.
type Flags struct {
	Place
	Elsewhere
	Credentials `embed:"" prefix:"api-"`
}

// Through explains how the commands find the broker.
const Through = `Works through the running broker's API, which it finds by the data directory; with --url on a broker elsewhere.
`

// API finds the running broker that the flags mean.
func (f *Flags) API() (*Broker, error) {
	dir := ""
	if f.URL == "" {
		cfg, err := f.load()
		if err != nil {
			return nil, err
		}
		dir = cfg.Data
	}
	r, err := f.broker(f.URL, dir)
	if r == nil && err == nil {
		err = fmt.Errorf("no broker runs on %s: start it (sapwood serve), or name another with --data or --url", dir)
	}
	return r, err
}

// broker finds the running broker: at a URL, or the one that has the directory; nil where none does.
func (c *Credentials) broker(url, dir string) (*Broker, error) {
	if url != "" {
		if c.Key == "" && c.Password == "" {
			return nil, errors.New("--url needs a password or a key: SAPWOOD_ADMIN_PASSWORD or SAPWOOD_API_KEY, or a flag")
		}
		if !strings.Contains(url, "://") {
			url = "http://" + url
		}
		return &Broker{url: url, named: true, user: c.User, password: c.Password, key: c.Key}, nil
	}
	holder, held, err := lock.Who(dir)
	if held {
		return c.running(dir, holder)
	}
	return nil, err
}

// running reaches the broker that has the directory.
func (c *Credentials) running(dir string, holder lock.Holder) (*Broker, error) {
	local, err := access.ReadLocal(dir)
	switch {
	case err == nil && c.Key != "": // then it is meant: the audit log has its name
		return &Broker{url: local.URL, key: c.Key}, nil
	case err == nil:
		return &Broker{url: local.URL, key: local.Key}, nil
	case holder.HTTP != "" && (c.Key != "" || c.Password != ""):
		return &Broker{url: "http://" + holder.HTTP, user: c.User, password: c.Password, key: c.Key}, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("a broker (pid %d) has %s, and its key cannot be read: %w; run this as its user, or set SAPWOOD_ADMIN_PASSWORD", holder.PID, dir, err)
	}
	return nil, fmt.Errorf("a broker (pid %d) has %s and offers no API: stop it, or start it with http.address", holder.PID, dir)
}
