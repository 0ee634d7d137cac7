package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/lock"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
)

// apiFlags say which broker's API is meant. Its password is not to be mistaken for the one of a user that a command changes.
type apiFlags struct {
	target
	credentials `embed:"" prefix:"api-"`
}

// target is a broker: by its data directory, or elsewhere.
type target struct {
	place
	URL string `name:"url" placeholder:"URL" env:"SAPWOOD_API_URL" help:"API of a broker elsewhere: http://host:port."`
}

// credentials are those for the API.
type credentials struct {
	User     string `default:"admin" help:"User for the API."`
	Password string `env:"SAPWOOD_ADMIN_PASSWORD" placeholder:"TEXT" help:"Its password. A broker on the same machine needs none."`
	Key      string `env:"SAPWOOD_API_KEY" placeholder:"TEXT" help:"Key for the API, in place of user and password."`
}

// through explains how the commands find the broker.
const through = `Works through the running broker's API, which it finds by the data directory; with --url on a broker elsewhere.
`

// api finds the running broker that the flags mean.
func (f *apiFlags) api() (*remote, error) {
	if f.URL != "" {
		return f.elsewhere(f.URL)
	}
	cfg, _, err := f.load()
	if err != nil {
		return nil, err
	}
	if r, err := f.broker("", cfg.Data); r != nil || err != nil {
		return r, err
	}
	return nil, fmt.Errorf("no broker runs on %s: start it (sapwood serve), or name another with --data or --url", cfg.Data)
}

// broker finds the running broker: at the URL, if there is one, or the one that has the directory; nil where none does.
func (c *credentials) broker(url, dir string) (*remote, error) {
	if url != "" {
		return c.elsewhere(url)
	}
	holder, held, err := lock.Who(dir)
	if held {
		return c.running(dir, holder)
	}
	return nil, err
}

func (c *credentials) elsewhere(url string) (*remote, error) {
	if c.Key == "" && c.Password == "" {
		return nil, errors.New("--url needs a password or a key: SAPWOOD_ADMIN_PASSWORD or SAPWOOD_API_KEY, or a flag")
	}
	return &remote{url: url, user: c.User, password: c.Password, key: c.Key}, nil
}

// running reaches the broker that has the directory.
func (c *credentials) running(dir string, holder lock.Holder) (*remote, error) {
	local, err := access.ReadLocal(dir)
	switch {
	case err == nil:
		return &remote{url: local.URL, key: local.Key}, nil
	case holder.HTTP != "" && (c.Key != "" || c.Password != ""):
		return &remote{url: "http://" + holder.HTTP, user: c.User, password: c.Password, key: c.Key}, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("a broker (pid %d) has %s, and its key cannot be read: %w; run this as its user, or set SAPWOOD_ADMIN_PASSWORD", holder.PID, dir, err)
	}
	return nil, fmt.Errorf("a broker (pid %d) has %s and offers no API: stop it, or start it with http.address", holder.PID, dir)
}

// remote is a running broker, by its API.
type remote struct {
	url            string
	user, password string
	key            string // in place of them
}

// problem is an answer that says no.
type problem struct {
	status int
	text   string
}

// Error tells why.
func (p *problem) Error() string { return p.text }

// isStatus tells whether the API said no with a status.
func isStatus(err error, status int) bool {
	var p *problem
	return errors.As(err, &p) && p.status == status
}

// do sends one request with a body of a kind, if there is one; an answer that is not a success is the error that it tells.
func (r *remote) do(ctx context.Context, method, path string, body io.Reader, kind string, header ...string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(r.url, "/")+"/api/v1"+path, body)
	if err != nil {
		return nil, err
	}
	if r.key != "" {
		req.Header.Set("Authorization", "Bearer "+r.key)
	} else {
		req.SetBasicAuth(r.user, r.password)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, &problem{resp.StatusCode, r.url + ": " + explanation(resp)}
}

// explanation is what an answer that says no tells.
func explanation(resp *http.Response) string {
	var p struct {
		Detail string
		Errors []struct{ Message, Location string }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p); err != nil || p.Detail == "" {
		return resp.Status
	}
	for _, e := range p.Errors {
		p.Detail += "; " + strings.TrimPrefix(e.Location, "body.") + ": " + e.Message
	}
	return p.Detail
}

// call sends in as JSON, unless it is nil, and reads the answer into out, unless that is nil.
func (r *remote) call(ctx context.Context, method, path string, in, out any, header ...string) error {
	var body io.Reader
	kind := ""
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, kind = bytes.NewReader(text), "application/json"
	}
	answer, err := r.do(ctx, method, path, body, kind, header...)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return fmt.Errorf("%s answered what is no JSON: %w", r.url, err)
	}
	return nil
}

// Status implements storeTool.
func (r *remote) Status(ctx context.Context) (s disk.Status, err error) {
	return s, r.call(ctx, http.MethodGet, "/store", nil, &s)
}

// Check implements storeTool.
func (r *remote) Check(ctx context.Context, progress func(done, total int64)) (disk.Report, error) {
	return task[disk.Report](ctx, r, "/store/check", nil, "", progress, nil)
}

// Compact implements storeTool.
func (r *remote) Compact(ctx context.Context, progress func(done, total int64)) (disk.Compacted, error) {
	return task[disk.Compacted](ctx, r, "/store/compact", nil, "", progress, nil)
}

// task starts a long task and follows it line by line. other, unless nil, gets the lines that are neither progress nor the result.
func task[T any](ctx context.Context, r *remote, path string, in io.Reader, kind string, progress func(done, total int64), other func(line []byte) error) (result T, err error) {
	body, err := r.do(ctx, http.MethodPost, path, in, kind)
	if err != nil {
		return result, err
	}
	defer body.Close()
	lines := bufio.NewReader(body)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return result, fmt.Errorf("%s ended before the result came: %w", r.url, err)
		}
		var line struct {
			Done, Total int64
			Result      *T
			Error       string
			Secret      json.RawMessage
		}
		switch err := json.Unmarshal(text, &line); {
		case err != nil:
			return result, fmt.Errorf("%s answered what is no JSON: %w", r.url, err)
		case line.Error != "":
			return result, errors.New(line.Error)
		case line.Result != nil:
			return *line.Result, nil
		case line.Secret != nil && other != nil:
			if err := other(line.Secret); err != nil {
				return result, err
			}
			continue
		}
		progress(line.Done, line.Total)
	}
}

// Backup implements storeTool.
func (r *remote) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	return r.copy(ctx, &counted{w: w, show: progress}, "/backup")
}

// Export implements storeTool.
func (r *remote) Export(ctx context.Context, w io.Writer) error {
	return r.copy(ctx, w, "/store/export")
}

// copy takes a stream. One that breaks off is an error of the broker, which has written why to its log.
func (r *remote) copy(ctx context.Context, w io.Writer, path string) error {
	body, err := r.do(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(w, body); errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s broke off; its log says why: %w", r.url, err)
	} else if err != nil {
		return err
	}
	return nil
}
