package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
)

// Overlay writes what makes the compiler see the mutant into dir and returns the value for -overlay. root is the
// repository.
func (m *Mutant) Overlay(root, dir string) (string, error) {
	file, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(m.File)))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.Old); n != 1 {
		return "", fmt.Errorf("mutant %q: %s has what is to be broken %d times, not once: %s", m.Name, m.File, n, m.Old)
	}
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o600); err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: broken}})
	if err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// Run has test/chaos treat the broker, broken by an overlay unless that is "". It returns the first promise found
// broken, "" when the broker passes. A mutant that does not compile is an error.
func (t *Try) Run(ctx context.Context, root, overlay string, seed int) (found string, err error) {
	args := []string{"test", "-count=1", "-timeout=10m", "-run=^" + t.Test + "$", "./test/chaos", "-args"}
	for _, a := range t.Args {
		args = append(args, strings.ReplaceAll(a, "{seed}", strconv.Itoa(seed)))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	scratch, err := os.MkdirTemp("", "mutant-") // for the histories of what is found
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch)
	if overlay != "" {
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay)) // for the binary that the test builds, too
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case !errors.As(err, &exit):
		return "", fmt.Errorf("run test/chaos: %w", err)
	}
	text := out.String()
	first := len(text)
	for _, rule := range history.Rules() {
		if i := strings.Index(text, string(rule)+": "); i >= 0 && i < first {
			first, found = i, string(rule)
		}
	}
	if found != "" {
		return found, nil
	}
	for _, sign := range []string{"[build failed]", "[setup failed]", "build the broker: "} {
		if strings.Contains(text, sign) {
			return "", fmt.Errorf("the mutant does not compile:\n%s", text)
		}
	}
	if _, after, crashed := strings.Cut(text, "\npanic: "); crashed {
		line, _, _ := strings.Cut(after, "\n")
		return "panic: " + line, nil
	}
	// The broker did not start, stop, recover or answer: the first complaint says it.
	if found = complaint().FindString(text); found == "" {
		return "", fmt.Errorf("test/chaos failed without a word:\n%s", text)
	}
	_, found, _ = strings.Cut(found, ": ")
	return found, nil
}

// complaint is how a test complains: file, line and text.
func complaint() *regexp.Regexp {
	return regexp.MustCompile(`_test\.go:[0-9]+: (?:settle|start|open|read-only|kill|the broker|the disk|the end|an end|panic|full|term|early|pause|writes)[^\n]*`)
}
