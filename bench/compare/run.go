package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/sapwood-mqtt/sapwood/bench/load"
)

// run measures one row against a fresh process of the broker. A result may come
// with an error: then the broker broke its promise and the result tells how.
func (b broker) run(ctx context.Context, o options, w row) (*load.Result, error) {
	r, err := b.start(ctx)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	args := append([]string{"-c", loadCore, o.binary, "bench"}, w.args...)
	args = append(args, "--json", "--url="+r.address, "--pid="+strconv.Itoa(r.pid()))
	if w.flow {
		args = append(args, "--duration="+o.duration.String())
	}
	cmd := exec.CommandContext(ctx, "taskset", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	ran := cmd.Run()
	res := new(load.Result)
	if err := json.Unmarshal(out.Bytes(), res); err != nil {
		return nil, errors.Join(ran, fmt.Errorf("read the result: %w", err))
	}
	return res, ran
}
