package manage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// usersImportCmd is `sapwood users import`.
type usersImportCmd struct {
	reach.Flags
	File         string `arg:"" help:"The file to read, - for standard input."`
	Format       string `enum:"auto,mosquitto,jsonl,csv" default:"auto" placeholder:"auto" help:"auto, mosquitto, jsonl or csv."`
	CreateGroups bool   `help:"Create the groups that are missing."`
	Secrets      string `short:"o" placeholder:"FILE" help:"Write the secrets of users with generate to this new file (CSV)."`
	JSON         bool   `help:"Print what was done as JSON."`
}

// Help is the long part of the help page.
func (*usersImportCmd) Help() string {
	return `All of it in one transaction, or nothing. Of users that are there already what the file gives is changed, the rest stays.

mosquitto is a password file of mosquitto_passwd. jsonl has one user a line, with the fields of the API: name, kind, groups,
client_id, disabled, expires, note, and one of password, password_hash and generate; or name and delete. csv has those as columns,
named in its first line; groups are separated by semicolons. Plain passwords are hashed one by one, some 30 ms each.

` + reach.Through + `
Examples:

    sapwood users import /etc/mosquitto/passwd
    sapwood users import devices.csv --create-groups -o secrets.csv
    sapwood users export | jq -c '.disabled = true' | sapwood users import -`
}

// Run imports users.
func (c *usersImportCmd) Run(ctx context.Context, std *screen.Streams) error {
	in := io.NopCloser(std.In)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		in = f
	}
	defer in.Close()
	users, err := readUsers(in, c.Format)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	r, err := c.API()
	if err != nil {
		return err
	}
	if c.CreateGroups {
		if err := createGroups(ctx, r, users); err != nil {
			return err
		}
	}
	keep, err := secretsFile(std, c.Secrets)
	if err != nil {
		return err
	}
	result, err := bulkSecrets(ctx, r, std, "import", users, keep.add)
	if err = errors.Join(err, keep.close(err)); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, result)
	}
	return tellBulk(std, result)
}

func tellBulk(std *screen.Streams, r rights.BulkResult) error {
	_, err := fmt.Fprintf(std.Out, "%d created, %d changed, %d deleted in %.1f s\n", r.Created, r.Changed, r.Deleted, r.Seconds)
	return err
}

// createGroups makes the groups that users are to be in and that there are not.
func createGroups(ctx context.Context, r *reach.Broker, users []rights.BulkUser) error {
	done := map[string]bool{}
	for i := range users {
		if users[i].Groups == nil {
			continue
		}
		for _, g := range *users[i].Groups {
			if done[g] {
				continue
			}
			done[g] = true
			err := r.Call(ctx, http.MethodPut, "/groups/"+url.PathEscape(g), struct{}{}, nil, "If-None-Match", "*")
			if err != nil && !reach.IsStatus(err, http.StatusPreconditionFailed) {
				return err
			}
		}
	}
	return nil
}

// bulk makes changes for which no secret is made.
func bulk(ctx context.Context, r *reach.Broker, std *screen.Streams, what string, users []rights.BulkUser) (rights.BulkResult, error) {
	return bulkSecrets(ctx, r, std, what, users, func(rights.Secret) error { return nil })
}

// bulkSecrets makes changes and hands over the secrets that are made.
func bulkSecrets(ctx context.Context, r *reach.Broker, std *screen.Streams, what string, users []rights.BulkUser, secret func(rights.Secret) error) (rights.BulkResult, error) {
	var body bytes.Buffer
	for i := range users {
		if err := screen.Line(&body, &users[i]); err != nil {
			return rights.BulkResult{}, err
		}
	}
	return bulkTask(ctx, r, std, what, "/users/bulk", &body, "application/x-ndjson", secret)
}

func bulkTask(ctx context.Context, r *reach.Broker, std *screen.Streams, what, path string, body io.Reader, kind string, secret func(rights.Secret) error) (rights.BulkResult, error) {
	show, end := screen.ProgressBar(std.Err, what, usersText)
	defer end()
	return reach.Task[rights.BulkResult](ctx, r, path, body, kind, show, func(line []byte) error {
		var s rights.Secret
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		return secret(s)
	})
}

func usersText(n int64) string { return fmt.Sprintf("%d users", n) }

// maxImport bounds a file of users.
const maxImport = 64 << 20

// readUsers reads a file of users. Errors name the line and quote no password.
func readUsers(r io.Reader, format string) ([]rights.BulkUser, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxImport+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxImport {
		return nil, fmt.Errorf("more than %s; import it in parts", screen.Bytes(maxImport))
	}
	if format == "auto" {
		format = guess(text)
	}
	switch format {
	case "mosquitto":
		return readMosquitto(text)
	case "csv":
		return readCSV(text)
	}
	return readLines(text)
}

// guess tells the format by the first line that says something.
func guess(text []byte) string {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0 || line[0] == '#':
			continue
		case line[0] == '{':
			return "jsonl"
		case bytes.Equal(line, []byte("name")), bytes.HasPrefix(line, []byte("name,")), bytes.Contains(line, []byte(",name")) && !bytes.Contains(line, []byte(":")):
			return "csv"
		}
		return "mosquitto"
	}
	return "jsonl"
}

func readMosquitto(text []byte) ([]rights.BulkUser, error) {
	found, err := accounts.ReadMosquitto(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	users := make([]rights.BulkUser, len(found))
	for i := range found {
		users[i].Name, users[i].PasswordHash = found[i].Name, &found[i].Password
	}
	return users, nil
}

func readLines(text []byte) (users []rights.BulkUser, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if line := bytes.TrimSpace(lines.Bytes()); len(line) == 0 || line[0] == '#' {
			continue
		}
		in := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		in.DisallowUnknownFields()
		var u rights.BulkUser
		if err := in.Decode(&u); err != nil {
			return nil, fmt.Errorf("line %d: %s", n, strings.TrimPrefix(err.Error(), "json: "))
		}
		users = append(users, u)
	}
	if len(users) == 0 && lines.Err() == nil {
		return nil, errors.New("no users in it")
	}
	return users, lines.Err()
}

// readCSV reads columns that the first line names; an empty cell is one that is not given.
func readCSV(text []byte) (users []rights.BulkUser, err error) {
	rows := csv.NewReader(bytes.NewReader(text))
	rows.Comment = '#'
	head, err := rows.Read()
	if err != nil {
		return nil, err
	}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		n, _ := rows.FieldPos(0)
		var u rights.BulkUser
		for i, column := range head {
			if row[i] == "" {
				continue
			}
			if err := setCell(&u, strings.TrimSpace(column), row[i]); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		}
		users = append(users, u)
	}
	if len(users) == 0 {
		return nil, errors.New("no users in it")
	}
	return users, nil
}

func setCell(u *rights.BulkUser, column, value string) error {
	yes := func() (bool, error) {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return false, fmt.Errorf("%s is true or false", column)
		}
		return b, nil
	}
	var err error
	var b bool
	switch column {
	case "name":
		u.Name = value
	case "kind":
		kind := accounts.Kind(value)
		u.Kind = &kind
	case "groups":
		groups := strings.Split(value, ";")
		u.Groups = &groups
	case "client_id":
		u.ClientID = &value
	case "disabled":
		b, err = yes()
		u.Disabled = &b
	case "delete":
		u.Delete, err = yes()
	case "generate":
		u.Generate, err = yes()
	case "expires":
		u.Expires = &value
	case "note":
		u.Note = &value
	case "password":
		u.Password = &value
	case "password_hash":
		u.PasswordHash = &value
	default:
		return fmt.Errorf("there is no column %q; there are name, kind, groups, client_id, disabled, expires, note, password, password_hash, generate and delete", column)
	}
	return err
}

// usersExportCmd is `sapwood users export`.
type usersExportCmd struct {
	reach.Flags
	File string `arg:"" optional:"" default:"-" help:"The file to write, - for standard output."`
}

// Help is the long part of the help page.
func (*usersExportCmd) Help() string {
	return `As sapwood users import reads them, but without passwords and what is known of them: those stay where they are. A copy of
everything is sapwood backup. ` + reach.Through + `
Examples:

    sapwood users export users.jsonl
    sapwood users export | jq -r 'select(.disabled) | .name'`
}

// Run writes users.
func (c *usersExportCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	write := func(w io.Writer) error {
		return users(ctx, r, "", "", 0, func(u *rights.User) error {
			line := rights.BulkUser{Name: u.Name}
			line.Kind, line.Groups = &u.Kind, &u.Groups
			if u.ClientID != "" {
				line.ClientID = &u.ClientID
			}
			if u.Disabled {
				line.Disabled = &u.Disabled
			}
			if u.Note != "" {
				line.Note = &u.Note
			}
			if !u.Expires.IsZero() {
				at := u.Expires.Format("2006-01-02T15:04:05Z07:00")
				line.Expires = &at
			}
			if u.Groups == nil {
				line.Groups = &[]string{}
			}
			return screen.Line(w, line)
		})
	}
	if c.File == "-" {
		out := bufio.NewWriter(std.Out)
		return errors.Join(write(out), out.Flush())
	}
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	return errors.Join(write(out), out.Flush(), f.Close())
}
