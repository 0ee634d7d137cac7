package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
)

// backupCmd is `sapwood backup`.
type backupCmd struct {
	storeFlags
	File string `arg:"" help:"The file to write, - for standard output."`
	JSON bool   `help:"Print what was written as JSON; not with standard output."`
}

// Help is the long part of the help page.
func (*backupCmd) Help() string {
	return `A consistent copy of sessions, queues and retained messages at one moment, and of the users with
their password hashes, groups, rules and bans a moment before it, with checksums; the broker goes on
meanwhile. The user admin, the configuration and its history, and certificates, also those by ACME,
are not in it. Keep it as secret as the data directory. A file appears under its name when it is
complete and synced, and replaces one that is there. ` + whose + `
Exit status: 0, 1 if it failed, 2 for a wrong command line.

Examples:

    sapwood backup sapwood-$(date +%F).backup
    sapwood backup - --data /var/lib/sapwood | zstd > sapwood.backup.zst
    sapwood backup remote.backup --url http://broker:8083 --password "$PASSWORD"`
}

// Run writes the backup.
func (c *backupCmd) Run(ctx context.Context, std *streams) error {
	tool, err := c.open()
	if err != nil {
		return err
	}
	return writeOut(std, c.File, "backup", c.JSON, func(w io.Writer, show func(done, total int64)) error {
		return tool.Backup(ctx, w, show)
	})
}

// restoreCmd is `sapwood restore`.
type restoreCmd struct {
	place
	File string `arg:"" help:"The backup to read, - for standard input."`
	JSON bool   `help:"Print what is there afterwards as JSON."`
}

// Help is the long part of the help page.
func (*restoreCmd) Help() string {
	return `Only into a data directory that holds no store and that no broker runs on. Every part is compared
with its checksum; when one is wrong, nothing is left behind.

Exit status: 0, 1 if it failed, 2 for a wrong command line.

Examples:

    sapwood restore sapwood-2026-11-22.backup --data ./restored
    zstdcat sapwood.backup.zst | sapwood restore - --data /var/lib/sapwood`
}

// Run restores and checks what came of it.
func (c *restoreCmd) Run(ctx context.Context, std *streams) error {
	cfg, in, err := c.into(c.File, std)
	if err != nil {
		return err
	}
	defer in.Close()
	show, end := screen.ProgressBar(std.err, "restore", screen.Bytes)
	err = disk.Restore(ctx, in, cfg.Data, nil, show, sqlite.Files()...)
	end()
	if err != nil {
		return err
	}
	return reportOn(ctx, std, cfg, c.JSON)
}

// writeOut writes a file, whole or not at all, or standard output, and tells how much it is. f may show how far it is.
func writeOut(std *streams, name, task string, asJSON bool, f func(w io.Writer, show func(done, total int64)) error) error {
	show, end := screen.ProgressBar(std.err, task, screen.Bytes)
	if name == "-" {
		defer end()
		return f(std.out, show)
	}
	part, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part") // mode 0600, and never what a link by a known name leads to
	if err != nil {
		return err
	}
	w := &counted{w: part}
	err = f(w, show)
	end()
	if err == nil {
		err = part.Sync()
	}
	err = errors.Join(err, part.Close())
	if err == nil {
		err = os.Rename(part.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s %s: %w", task, name, err), os.Remove(part.Name()))
	}
	if err := syncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("%s %s: %w", task, name, err)
	}
	if asJSON {
		return screen.JSON(std.out, struct {
			File  string `json:"file"`
			Bytes int64  `json:"bytes"`
		}{name, w.n})
	}
	_, err = fmt.Fprintf(std.out, "%s: %s\n", name, screen.Bytes(w.n))
	return err
}

// counted counts what is written through it, and shows it if it can.
type counted struct {
	w    io.Writer
	n    int64
	show func(done, total int64) // nil = nobody looks
}

// Write implements io.Writer.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if c.show != nil {
		c.show(c.n, 0)
	}
	return n, err
}

// syncDir makes a new name in a directory last, where directories can be synced.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // some file systems and systems cannot
	return d.Close()
}
