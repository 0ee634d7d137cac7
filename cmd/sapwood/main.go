// Command sapwood is the whole of Sapwood: the broker, and the tools to use it, measure it and ask
// about its configuration. Each command is one file here; it parses, calls and prints, no more.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/ask"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/live"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/manage"
)

// commands is the command line. A new command is a field here and a file of its own, with a
// Run(ctx context.Context, std *streams) error and a Help() string that ends in an example.
type commands struct {
	useCommands      `embed:"" group:"use"`
	whoCommands      `embed:"" group:"who"`
	liveCommands     `embed:"" group:"live"`
	apiCommands      `embed:"" group:"api"`
	settingsCommands `embed:"" group:"settings"`
	dataCommands     `embed:"" group:"data"`
	moreCommands     `embed:"" group:"more"`
}

// useCommands are about the broker itself, and clients to try it.
type useCommands struct {
	Serve serveCmd `cmd:"" help:"Run the broker."`
	Pub   pubCmd   `cmd:"" help:"Publish messages."`
	Sub   subCmd   `cmd:"" help:"Subscribe and print messages."`
	Bench benchCmd `cmd:"" help:"Put load on a broker and measure it."`
}

// whoCommands are about who clients are and what they may do.
type whoCommands struct {
	Cert    certCmd           `cmd:"" help:"Make, revoke and show certificates."`
	Users   manage.UsersCmd   `cmd:"" help:"List and change users."`
	Groups  manage.GroupsCmd  `cmd:"" help:"List and change groups."`
	Devices manage.DevicesCmd `cmd:"" help:"Create devices with secrets."`
	Rules   manage.RulesCmd   `cmd:"" help:"List and change the rules that are stored."`
	ACL     aclCmd            `cmd:"" name:"acl" help:"Check and explain what clients may do."`
}

// liveCommands are about what the broker does at present, and did.
type liveCommands struct {
	Now           live.NowCmd           `cmd:"" help:"Tell whether all is well, and what is not."`
	Top           live.TopCmd           `cmd:"" help:"Watch clients, topics, rates and drops, full screen."`
	Listeners     manage.ListenersCmd   `cmd:"" help:"List where clients connect, with figures and certificates."`
	Backends      live.BackendsCmd      `cmd:"" help:"List who is asked who clients are, with figures."`
	Why           ask.WhyCmd            `cmd:"" help:"Tell why a client is disconnected, silent or slow."`
	WhyNot        ask.WhyNotCmd         `cmd:"" help:"Tell why a client did not get a message."`
	Route         ask.RouteCmd          `cmd:"" help:"Tell who would receive a message."`
	Clients       live.ClientsCmd       `cmd:"" help:"List, show and disconnect clients."`
	Sessions      live.SessionsCmd      `cmd:"" help:"List and end sessions."`
	Queue         live.QueueCmd         `cmd:"" help:"Look at what waits for a client, and change it."`
	Subscriptions live.SubscriptionsCmd `cmd:"" help:"List subscriptions of all clients."`
	Topics        live.TopicsCmd        `cmd:"" help:"Look at topics and what is published to them."`
	Retained      live.RetainedCmd      `cmd:"" help:"List, delete and restore retained messages."`
	Request       live.RequestCmd       `cmd:"" help:"Send a request as a message, and print the response."`
	Events        manage.EventsCmd      `cmd:"" help:"Show what happened, and what happens."`
	Books         manage.BooksCmd       `cmd:"" help:"Show what became of all messages, and whether it adds up."`
	Canaries      canariesCmd           `cmd:"" help:"Show whether and how soon the broker delivers its own test messages."`
	History       live.HistoryCmd       `cmd:"" help:"Show and export figures of up to 30 days."`
	Ban           manage.BanCmd         `cmd:"" help:"Keep clients out."`
	Unban         manage.UnbanCmd       `cmd:"" help:"Let clients in again."`
	Bans          manage.BansCmd        `cmd:"" help:"List who is kept out, or in quarantine."`
	Quarantine    manage.QuarantineCmd  `cmd:"" help:"Keep clients apart."`
	Trace         manage.TraceCmd       `cmd:"" help:"Show packets of a client, a topic or an address, as they pass or passed."`
	Traces        manage.TracesCmd      `cmd:"" help:"List, download and end live traces."`
}

// apiCommands are about who may use the API.
type apiCommands struct {
	Operators manage.OperatorsCmd `cmd:"" help:"List and change who may use the API and the console."`
	Keys      manage.KeysCmd      `cmd:"" help:"List, create and revoke keys for programs."`
	Audit     manage.AuditCmd     `cmd:"" help:"Show who changed what by the API."`
}

// settingsCommands are about the configuration.
type settingsCommands struct {
	Config configCmd `cmd:"" help:"Check, describe and explain the configuration."`
	Import importCmd `cmd:"" help:"Turn the configuration of another broker into one of Sapwood."`
}

// dataCommands are about what is kept on disk.
type dataCommands struct {
	Store   storeCmd   `cmd:"" help:"Check, measure, compact and export what is kept on disk."`
	Backup  backupCmd  `cmd:"" help:"Write a copy of what is kept, of a running broker too."`
	Restore restoreCmd `cmd:"" help:"Make a data directory from a backup."`
}

// moreCommands are about the rest.
type moreCommands struct {
	Help    helpCmd    `cmd:"" help:"Show the help page of a command."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// streams are the process's standard streams, so that a command can be tested without them.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// The exit codes of every command that does not document its own.
const (
	exitFailed = 1 // it was asked properly and could not
	exitUsage  = 2 // it was not asked properly
)

func main() {
	// The first signal ends the context; the second one, with the default action restored, the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], &streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run runs one command line and returns the exit code.
func run(ctx context.Context, args []string, std *streams) int {
	if len(args) == 0 {
		args = []string{"help"}
	}
	parsed, err := parse(newParser(std), args)
	if errors.Is(err, errHelped) {
		return 0
	}
	if err != nil {
		command := "sapwood"
		if at := parsed.Selected(); at != nil {
			command = at.FullPath()
		}
		fmt.Fprintf(std.err, "sapwood: %v; see %s --help\n", err, command)
		return exitUsage
	}
	// Nothing of the parser is held while the command runs: its model of all commands is 1.5 MB, a third of what an idle broker keeps.
	err = runOf(parsed.Selected())(ctx, std)
	var coder interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coder):
		if err.Error() != "" {
			fmt.Fprintf(std.err, "sapwood: %v\n", err)
		}
		return coder.ExitCode()
	default:
		fmt.Fprintf(std.err, "sapwood: %v\n", err)
		return exitFailed
	}
}

// duration reads a time that a flag takes: as Go writes it, in days, or as seconds alone, as other tools take it.
func duration(c *kong.DecodeContext, to reflect.Value) error {
	var text string
	if err := c.Scan.PopValueInto("time", &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	if n, bad := strconv.ParseUint(text, 10, 32); bad == nil {
		d, err = time.Duration(n)*time.Second, nil
	} else if days, ok := strings.CutSuffix(text, "d"); ok {
		n, bad := strconv.ParseUint(days, 10, 16)
		d, err = time.Duration(n)*24*time.Hour, bad
	}
	if err != nil {
		return fmt.Errorf("%q is no time such as 90s, 1m30s, 2h or 7d", text)
	}
	to.SetInt(int64(d))
	return nil
}

func newParser(std *streams) *kong.Kong {
	return kong.Must(&commands{},
		kong.Name("sapwood"),
		kong.Description("An MQTT 3.1, 3.1.1 and 5.0 broker in one binary.\n\n    sapwood serve"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "use", Title: "Run it and try it:"},
			{Key: "who", Title: "Who may connect, and what they may do:"},
			{Key: "live", Title: "Who is connected:"},
			{Key: "api", Title: "Who may use the API and the console:"},
			{Key: "settings", Title: "Settings:"},
			{Key: "data", Title: "What is kept on disk:"},
			{Key: "more", Title: "More:"},
		}),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(duration)),
		kong.Writers(std.out, std.err),
	)
}
