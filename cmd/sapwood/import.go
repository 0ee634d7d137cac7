package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sapwood-mqtt/sapwood/app/importing/mosquitto"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// importCmd is `sapwood import`.
type importCmd struct {
	Mosquitto importMosquittoCmd `cmd:"" help:"Turn a configuration of Mosquitto into one of Sapwood."`
}

// importMosquittoCmd is `sapwood import mosquitto`.
type importMosquittoCmd struct {
	File   string `arg:"" help:"The mosquitto.conf, with what it includes."`
	Output string `short:"o" placeholder:"FILE" help:"Where to write the result; it must not be there yet. Without it: standard output."`
	All    bool   `help:"Tell about every line, not only about those that are not the same any more."`
	JSON   bool   `help:"Tell as JSON."`
}

// Help is the long part of the help page.
func (*importMosquittoCmd) Help() string {
	return `Every line is either expressed in the result, or told on standard error (and at the head of the result)
with what is different, or why there is no equivalent. Password files and the ACL file are used where they
are; data that Mosquitto has kept is not read. Check the result with sapwood config check.

Exit status: 0 when a configuration was written, 1 when not, 2 for a wrong command line.

Examples:

    sapwood import mosquitto /etc/mosquitto/mosquitto.conf -o sapwood.yaml
    sapwood import mosquitto --all mosquitto.conf > sapwood.yaml`
}

// Run converts one file.
func (c *importMosquittoCmd) Run(std *streams) (err error) {
	result, err := mosquitto.Import(c.File, onDisk{})
	if err != nil {
		return err
	}
	out := std.out
	if c.Output != "" {
		f, err := os.OpenFile(c.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		if err != nil {
			return fmt.Errorf("write the configuration: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	if _, err := io.WriteString(out, result.YAML); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.err, result.Report)
	}
	for _, l := range result.Report {
		if c.All || l.Result != mosquitto.Mapped && l.Result != mosquitto.Needless {
			fmt.Fprintln(std.err, l)
		}
	}
	return nil
}

// onDisk reads what a configuration includes.
type onDisk struct{}

// Read implements mosquitto.Files.
func (onDisk) Read(path string) ([]byte, error) { return os.ReadFile(path) }

// List implements mosquitto.Files.
func (onDisk) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Clean(dir))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
