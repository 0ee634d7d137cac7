package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
)

// remote is the store of a running broker, by its API.
type remote struct {
	url            string
	user, password string
	key            string // in place of them
}

// do sends one request without a body.
func (r *remote) do(ctx context.Context, method, path string) (io.ReadCloser, error) {
	return r.send(ctx, method, path, "", nil)
}

// call sends one request, with a body of YAML if there is one, and reads the answer as JSON.
func (r *remote) call(ctx context.Context, method, path string, yaml []byte, answer any) error {
	body, err := r.send(ctx, method, path, "application/yaml", yaml)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(answer)
}

// send sends one request; an answer that is not 200 is the error that it tells.
func (r *remote) send(ctx context.Context, method, path, kind string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(r.url, "/")+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", kind)
	}
	if r.key != "" {
		req.Header.Set("Authorization", "Bearer "+r.key)
	} else {
		req.SetBasicAuth(r.user, r.password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var problem struct{ Title, Detail string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&problem); err != nil || problem.Detail == "" {
		problem.Detail = resp.Status
	}
	return nil, fmt.Errorf("%s: %s", r.url, problem.Detail)
}

// Status implements storeTool.
func (r *remote) Status(ctx context.Context) (s disk.Status, err error) {
	body, err := r.do(ctx, http.MethodGet, "/store")
	if err != nil {
		return s, err
	}
	defer body.Close()
	err = json.NewDecoder(body).Decode(&s)
	return s, err
}

// Check implements storeTool.
func (r *remote) Check(ctx context.Context, progress func(done, total int64)) (disk.Report, error) {
	return task[disk.Report](ctx, r, "/store/check", progress)
}

// Compact implements storeTool.
func (r *remote) Compact(ctx context.Context, progress func(done, total int64)) (disk.Compacted, error) {
	return task[disk.Compacted](ctx, r, "/store/compact", progress)
}

// task follows a long task line by line.
func task[T any](ctx context.Context, r *remote, path string, progress func(done, total int64)) (result T, err error) {
	body, err := r.do(ctx, http.MethodPost, path)
	if err != nil {
		return result, err
	}
	defer body.Close()
	lines := json.NewDecoder(bufio.NewReader(body))
	for {
		var line struct {
			Done, Total int64
			Result      *T
			Error       string
		}
		switch err := lines.Decode(&line); {
		case err != nil:
			return result, fmt.Errorf("%s ended before the result came: %w", r.url, err)
		case line.Error != "":
			return result, errors.New(line.Error)
		case line.Result != nil:
			return *line.Result, nil
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
	body, err := r.do(ctx, http.MethodGet, path)
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
