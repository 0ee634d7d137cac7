//go:build unix

package main

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// F249: a process that is killed by a signal that could dump core dumps none, whatever the shell allows: payloads stay in
// memory. (The heap is not offered over HTTP either: TestHealth of package console.)
func TestNoCoreDump(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGQUIT} {
		p := startServe(t, filepath.Join(t.TempDir(), "data"))
		p.cmd.Process.Signal(signal)
		err := p.cmd.Wait()
		exit, ok := err.(*exec.ExitError)
		if !ok || exit.Sys().(syscall.WaitStatus).CoreDump() {
			t.Errorf("%v: %v", signal, err)
		}
	}
}
