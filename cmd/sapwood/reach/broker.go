// Package reach finds a running broker and talks to it through its public API, for the commands that act on one.
package reach

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Broker is a running broker, by its API.
type Broker struct {
	url            string
	named          bool // by --url: what it says is told with its name
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

// Refused tells whether the API answered, and said no.
func Refused(err error) bool {
	var p *problem
	return errors.As(err, &p)
}

// IsStatus tells whether the API said no with a status.
func IsStatus(err error, status int) bool {
	var p *problem
	return errors.As(err, &p) && p.status == status
}

// send sends one request with a body of a kind, if there is one; an answer that is not a success is the error that it tells.
func (r *Broker) send(ctx context.Context, method, path string, body io.Reader, kind string, header ...string) (io.ReadCloser, error) {
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
		return nil, r.unreachable(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text := whyNot(resp)
	if r.named {
		text = r.url + ": " + text
	}
	return nil, &problem{resp.StatusCode, text}
}

// unreachable says what may be wrong where nobody answered as the API does.
func (r *Broker) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var to *net.OpError
	switch {
	case errors.As(err, &to) && to.Op == "dial":
		return fmt.Errorf("%s cannot be reached: %w; does a broker run there, and is this its http.address?", r.url, err)
	case errors.Is(err, io.EOF), strings.Contains(err.Error(), "malformed HTTP response"):
		return fmt.Errorf("%s is no HTTP: %w; the API is at http.address, not where MQTT clients connect", r.url, err)
	}
	return err
}

// whyNot is what an answer that says no tells.
func whyNot(resp *http.Response) string {
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

// YAML is a body that is sent as it is.
type YAML []byte

// Call sends in as JSON, unless it is nil or a YAML, and reads the answer into out, unless that is nil.
func (r *Broker) Call(ctx context.Context, method, path string, in, out any, header ...string) error {
	var body io.Reader
	kind := ""
	switch in := in.(type) {
	case nil:
	case YAML:
		if len(in) > 0 {
			body, kind = bytes.NewReader(in), "application/yaml"
		}
	default:
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, kind = bytes.NewReader(text), "application/json"
	}
	answer, err := r.send(ctx, method, path, body, kind, header...)
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

// Task starts a long task and follows it line by line. other, unless nil, gets the lines that are neither progress nor the result.
func Task[T any](ctx context.Context, r *Broker, path string, in io.Reader, kind string, progress func(done, total int64), other func(line []byte) error) (result T, err error) {
	body, err := r.send(ctx, http.MethodPost, path, in, kind)
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

// Copy takes a stream. One that breaks off is an error of the broker, which has written why to its log.
func (r *Broker) Copy(ctx context.Context, w io.Writer, path string) error {
	body, err := r.send(ctx, http.MethodGet, path, nil, "")
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
