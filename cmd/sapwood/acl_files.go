package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/app/settings"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
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
		return printJSON(std.out, struct {
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

// aclAskCmd is `sapwood acl ask`.
type aclAskCmd struct {
	Config   string            `short:"c" placeholder:"FILE" env:"SAPWOOD_CONFIG" help:"Configuration file (YAML). Without one, the defaults hold."`
	Client   string            `required:"" placeholder:"ID" help:"Client id."`
	User     string            `placeholder:"NAME" help:"Identity; without one the client is anonymous."`
	Group    []string          `placeholder:"NAME" help:"A group that it is in; may be repeated."`
	Listener string            `placeholder:"NAME" help:"The listener by which it comes."`
	Address  string            `placeholder:"IP" help:"Where it comes from; without one, a Unix socket."`
	CN       string            `name:"cn" placeholder:"NAME" help:"Common name of its certificate."`
	Claim    map[string]string `placeholder:"NAME=VALUE" help:"A claim of its token; may be repeated."`
	QoS      int               `name:"qos" default:"0" enum:"0,1,2" help:"Of the publication, or asked for by the subscription."`
	JSON     bool              `help:"Print the answer as JSON."`
	Action   string            `arg:"" enum:"publish,subscribe,receive,retain" help:"publish, subscribe, receive, or retain (publish a retained message)."`
	Topic    string            `arg:"" help:"The topic name, or for subscribe the filter."`
}

// Help is the long part of the help page.
func (*aclAskCmd) Help() string {
	return `Asks the rules of a configuration file, and of its acl_file, about a client that need not exist.

Examples:

    sapwood acl ask --config sapwood.yaml --client sensor-7 --user anna publish data/sensor-7/t
    sapwood acl ask --client c --address 192.0.2.7 --claim site=north subscribe '#'`
}

// Run asks one question.
func (c *aclAskCmd) Run(std *streams) error {
	engine, err := rulesOf(c.Config)
	if err != nil {
		return err
	}
	subject := acl.Subject{Client: c.Client, User: c.User, Groups: c.Group, Listener: c.Listener, Address: c.Address, CN: c.CN, Claims: c.Claim}
	who, err := subject.Principal()
	if err != nil {
		return err
	}
	q, err := acl.ParseQuestion(fmt.Sprintf("%s qos=%d %s", c.Action, c.QoS, c.Topic))
	if err != nil {
		return err
	}
	d := engine.Explain(who, q)
	if c.JSON {
		return printJSON(std.out, d)
	}
	_, err = fmt.Fprintf(std.out, "%s: %s\n", answer(d.Allowed), d.Why)
	return err
}

// rulesOf makes an engine with all rules that a configuration file names.
func rulesOf(file string) (*acl.Engine, error) {
	cfg, err := loadAuthorization(file)
	if err != nil {
		return nil, err
	}
	e := acl.New()
	if err := e.Set("configuration", cfg.Compile()); err != nil {
		return nil, err
	}
	if cfg.ACLFile != "" {
		if _, err := acl.OpenFile(e, cfg.ACLFile); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// loadAuthorization reads one section of a configuration file. The others have to be right too, as far as their keys go.
func loadAuthorization(file string) (acl.Config, error) {
	if file == "" {
		return acl.DefaultConfig(), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return acl.Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	const section = "authorization"
	defaults := reflect.ValueOf(app.DefaultConfig())
	fields := []reflect.StructField{{Name: "Section", Type: reflect.TypeFor[acl.Config](), Tag: `yaml:"` + section + `"`}}
	for f := range defaults.Type().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != section {
			fields = append(fields, f)
		}
	}
	whole := reflect.New(reflect.StructOf(fields))
	whole.Elem().Field(0).Set(reflect.ValueOf(acl.DefaultConfig()))
	for _, f := range fields[1:] {
		whole.Elem().FieldByName(f.Name).Set(defaults.FieldByName(f.Name))
	}
	_, err = settings.Load(whole.Interface(), settings.Source{File: file, Data: data})
	var problems settings.Problems
	if errors.As(err, &problems) {
		err = errors.New(problems[0].Text())
	}
	return whole.Elem().Field(0).Interface().(acl.Config), err
}
