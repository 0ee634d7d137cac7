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
	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// run measures one row against a fresh process of the broker. A result may come
// with an error: then the broker broke its promise and the result tells how.
func measureRow(ctx context.Context, b peer.Broker, o options, w row) (*load.Result, error) {
	r, err := b.Start(ctx, "")
	if err != nil {
		return nil, err
	}
	defer r.Stop()
	args := append([]string{"-c", peer.LoadCore, o.binary, "bench"}, w.args...)
	args = append(args, "--json", "--url="+r.Address, "--pid="+strconv.Itoa(r.PID()))
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
