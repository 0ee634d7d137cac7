package manage

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// DevicesCmd is `sapwood devices`.
type DevicesCmd struct {
	Create devicesCreateCmd `cmd:"" help:"Create devices, each with a random secret."`
}

// devicesCreateCmd is `sapwood devices create`.
type devicesCreateCmd struct {
	reach.Flags
	Name   []string `arg:"" optional:"" help:"Names; or give --prefix and --count."`
	Prefix string   `placeholder:"TEXT" help:"What the names begin with, before a number."`
	Count  int      `short:"n" placeholder:"N" help:"How many."`
	Start  int      `default:"1" help:"The first number."`
	Group  []string `short:"g" sep:"none" placeholder:"GROUP" help:"A group that they are in. Repeatable."`
	Own    bool     `name:"own-client-id" help:"Each may connect with its name as client id only."`
	Note   string   `placeholder:"TEXT" help:"A note."`
	Out    string   `short:"o" placeholder:"FILE" help:"Write names and secrets to this new file, for its owner's eyes only."`
	JSON   bool     `help:"Write lines of JSON in place of CSV."`
}

// Help is the long part of the help page.
func (*devicesCreateCmd) Help() string {
	return `All of them in one transaction, or none. The secrets are given this one time: the broker keeps what checks them, not them.
They are random (128 bits and more), so that they cannot be guessed and cost little to check. ` + reach.Through + `
Examples:

    sapwood devices create press-07
    sapwood devices create --prefix press- --count 250 --group line-a --own-client-id -o secrets.csv`
}

// Run creates devices.
func (c *devicesCreateCmd) Run(ctx context.Context, std *screen.Streams) error {
	if (len(c.Name) == 0) == (c.Count <= 0) {
		return errors.New("give names, or --prefix and --count")
	}
	r, err := c.API()
	if err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		Names  []string `json:"names,omitempty"`
		Prefix string   `json:"prefix,omitempty"`
		Count  int      `json:"count,omitempty"`
		Start  int      `json:"start"`
		Groups []string `json:"groups,omitempty"`
		Own    bool     `json:"own_client_id,omitempty"`
		Note   string   `json:"note,omitempty"`
	}{c.Name, c.Prefix, c.Count, c.Start, c.Group, c.Own, c.Note})
	if err != nil {
		return err
	}
	keep, err := secretsFile(std, c.Out)
	if err != nil {
		return err
	}
	keep.json = c.JSON
	result, err := bulkTask(ctx, r, std, "create", "/devices", bytes.NewReader(body), "application/json", keep.add)
	if err = errors.Join(err, keep.close(err)); err != nil {
		return err
	}
	if c.Out == "" {
		return nil
	}
	return tellBulk(std, result)
}

// secrets is where secrets go that are given once: a new file that its owner alone can read, or standard output.
type secrets struct {
	file *os.File // nil = standard output
	std  *screen.Streams
	csv  *csv.Writer
	json bool
	n    int
}

// secretsFile opens it before anything is changed, so that no secret is made that cannot be kept.
func secretsFile(std *screen.Streams, path string) (*secrets, error) {
	s := &secrets{std: std}
	if path == "" {
		s.csv = csv.NewWriter(std.Out)
		return s, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the secrets need a new file: %w", err)
	}
	s.file, s.csv = f, csv.NewWriter(f)
	return s, nil
}

func (s *secrets) add(one rights.Secret) error {
	s.n++
	if s.json {
		w := s.std.Out
		if s.file != nil {
			w = s.file
		}
		return screen.Line(w, one)
	}
	if s.n == 1 {
		if err := s.csv.Write([]string{"name", "secret"}); err != nil {
			return err
		}
	}
	return s.csv.Write([]string{screen.Cell(one.Name), one.Secret})
}

// close ends it. A file into which nothing came, because of failed, is removed.
func (s *secrets) close(failed error) error {
	s.csv.Flush()
	err := s.csv.Error()
	if s.file == nil {
		return err
	}
	if err == nil {
		err = s.file.Sync()
	}
	err = errors.Join(err, s.file.Close())
	if failed != nil && s.n == 0 {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
	return err
}
