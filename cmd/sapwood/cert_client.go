package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// certClientCmd is `sapwood cert client`.
type certClientCmd struct {
	pki
	validity
	Names []string `arg:"" optional:"" name:"name" help:"Name of the client: the common name of its certificate."`
	From  string   `name:"names-from" placeholder:"FILE" help:"File with more names, one a line; - is standard input."`
}

// Help is the long part of the help page.
func (*certClientCmd) Help() string {
	return `Writes DIR/clients/NAME.crt and NAME.key for each name; the name is the common name (CN). A client whose
files are there keeps them: with --names-from that is counted, so that a run can be repeated.

Examples:

    sapwood cert client pump-7
    sapwood cert client --names-from devices.txt --days 365
    sapwood pub --cafile sapwood-pki/ca.crt --cert sapwood-pki/clients/pump-7.crt \
      --key sapwood-pki/clients/pump-7.key -H broker.example.com -t a/b -m hello`
}

// Run issues the certificates.
func (c *certClientCmd) Run(ctx context.Context, std *streams) error {
	names, err := c.names(std)
	if err != nil {
		return err
	}
	dir := c.dir()
	ca, err := dir.Open()
	if err != nil {
		return err
	}
	show, end := screen.ProgressBar(std.err, "issue", func(n int64) string { return fmt.Sprintf("%d certificates", n) })
	defer end()
	made, kept := 0, 0
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped after %d of %d certificates: %w", i, len(names), err)
		}
		show(int64(i), int64(len(names)))
		switch err := c.issue(dir, ca, name); {
		case err == nil:
			made++
		case errors.Is(err, fs.ErrExist) && c.From != "":
			kept++
		default:
			return exists(err)
		}
	}
	end()
	if len(names) == 1 && made == 1 {
		cert, key := dir.Client(names[0])
		_, err = fmt.Fprintf(std.out, "%s\n%s\n", cert, key)
		return err
	}
	_, err = fmt.Fprintf(std.out, "%d certificates made in %s, %d were there\n", made, dir.Clients(), kept)
	return err
}

// issue makes one certificate.
func (c *certClientCmd) issue(dir privateca.Dir, ca *privateca.Authority, name string) error {
	file, _ := dir.Client(name)
	if _, err := os.Lstat(file); err == nil {
		return &fs.PathError{Op: "create", Path: file, Err: fs.ErrExist}
	}
	client, err := ca.Client(name, c.until())
	if err != nil {
		return err
	}
	return dir.WriteClient(name, client)
}

// names are those of the command line and of the file, all of them checked before anything is made.
func (c *certClientCmd) names(std *streams) ([]string, error) {
	names := c.Names
	if c.From != "" {
		in := io.NopCloser(std.in)
		if c.From != "-" {
			f, err := os.Open(c.From)
			if err != nil {
				return nil, err
			}
			in = f
		}
		defer in.Close()
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			if name := strings.TrimSpace(lines.Text()); name != "" {
				names = append(names, name)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.From, err)
		}
	}
	if len(names) == 0 {
		return nil, coded{exitUsage, errors.New("give a name, or --names-from FILE")}
	}
	for _, name := range names {
		if err := privateca.CheckName(name); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// certRevokeCmd is `sapwood cert revoke`.
type certRevokeCmd struct {
	pki
	Who []string `arg:"" name:"name" help:"Name of a client with a certificate in DIR/clients, or a serial number as cert show prints it."`
}

// Help is the long part of the help page.
func (*certRevokeCmd) Help() string {
	return `Adds to DIR/ca.crl. A running broker whose listener names that file as its crl takes it over by itself:
the certificates are refused from then on, and clients that are connected with them are disconnected.

Examples:

    sapwood cert revoke pump-7
    sapwood cert revoke 3f0c51d6e77a4f0ab1c2d3e4f5061728`
}

// Run makes a new revocation list.
func (c *certRevokeCmd) Run(std *streams) error {
	dir := c.dir()
	ca, err := dir.Open()
	if err != nil {
		return err
	}
	var serials []*big.Int
	for _, who := range c.Who {
		serial, err := dir.Serial(who)
		if errors.Is(err, fs.ErrNotExist) {
			var ok bool
			if serial, ok = new(big.Int).SetString(who, 16); !ok || serial.Sign() <= 0 {
				return fmt.Errorf("%s is neither a client in %s nor a serial number", who, dir.Clients())
			}
		} else if err != nil {
			return err
		}
		serials = append(serials, serial)
	}
	if err := dir.Revoke(ca, serials); err != nil {
		return err
	}
	for i, who := range c.Who {
		if _, err := fmt.Fprintf(std.out, "revoked %s, serial number %s\n", who, serials[i].Text(16)); err != nil {
			return err
		}
	}
	return nil
}
