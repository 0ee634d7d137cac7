package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/goccy/go-yaml"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// aclTestCmd is `sapwood acl test`.
type aclTestCmd struct {
	Config string `short:"c" placeholder:"FILE" env:"SAPWOOD_CONFIG" help:"Configuration file (YAML). Without one, the defaults hold."`
	JSON   bool   `help:"Print the answers as JSON."`
	File   string `arg:"" help:"The file with the expectations (YAML)."`
}

// Help is the long part of the help page.
func (*aclTestCmd) Help() string {
	return `Asks the rules of a configuration file, and of its acl_file, what clients may do that need not exist.
The expectations are a list; in each, may and may_not hold questions: publish, subscribe, receive or
retain (publish a retained message), then if need be qos=0, qos=1 or qos=2, then the topic. A client
without an address is one on a Unix socket.

    # expectations.yaml
    - client: sensor-7
      user: anna
      groups: [sensors]
      listener: tls
      address: 192.0.2.7
      cn: sensor-7
      claims: {site: north}
      may: [publish data/sensor-7/t, subscribe cmd/sensor-7/+]
      may_not: ["publish data/sensor-8/t", "subscribe #"]

Exit status: 0 when all hold, 1 when one does not, 2 for a wrong command line.

Examples:

    sapwood acl test expectations.yaml --config sapwood.yaml`
}

// Run asks everything and compares.
func (c *aclTestCmd) Run(std *streams) error {
	data, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read the expectations: %w", err)
	}
	var list []acl.Expectation
	if err := yaml.UnmarshalWithOptions(data, &list, yaml.Strict()); err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	engine, err := rulesOf(c.Config)
	if err != nil {
		return err
	}
	results, err := engine.Test(list)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if len(results) == 0 {
		return fmt.Errorf("%s: there is nothing to test", c.File)
	}
	failed := 0
	for i := range results {
		if results[i].Failed() {
			failed++
		}
	}
	if err := c.print(std, results, failed); err != nil {
		return err
	}
	if failed > 0 {
		return silent{}
	}
	return nil
}

func (c *aclTestCmd) print(std *streams, results []acl.Result, failed int) error {
	if c.JSON {
		return screen.JSON(std.out, struct {
			OK      bool         `json:"ok"`
			Failed  int          `json:"failed"`
			Results []acl.Result `json:"results"`
		}{failed == 0, failed, results})
	}
	t := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RESULT\tCLIENT\tUSER\tQUESTION\tANSWER\tRULE")
	for i := range results {
		r := &results[i]
		result := "ok"
		if r.Failed() {
			result = "FAILED"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", result, dash(r.Client), dash(r.User), r.Question, answer(r.Decision.Allowed), dash(r.Decision.Rule))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range results {
		if r := &results[i]; r.Failed() {
			fmt.Fprintf(std.out, "\nexpected that it is %s: %s\n", answer(r.Expected), r.Decision.Why)
		}
	}
	_, err := fmt.Fprintf(std.out, "\n%d of %d expectations hold\n", len(results)-failed, len(results))
	return err
}

func answer(allowed bool) string {
	if allowed {
		return "allowed"
	}
	return "denied"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// rulesOf makes an engine with all rules that a configuration names.
func rulesOf(file string) (*acl.Engine, error) {
	cfg, _, err := app.Load(file, os.Environ(), nil)
	if err != nil {
		return nil, err
	}
	e := acl.New()
	if err := e.Set("configuration", cfg.Authorization.Compile()); err != nil {
		return nil, err
	}
	if cfg.Authorization.ACLFile != "" {
		if _, err := acl.OpenFile(e, cfg.Authorization.ACLFile); err != nil {
			return nil, err
		}
	}
	return e, nil
}
