package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/sapwood-mqtt/sapwood/app"
)

// versionCmd is `sapwood version`.
type versionCmd struct {
	JSON bool `help:"Print it as JSON."`
}

// Help is the long part of the help page.
func (*versionCmd) Help() string {
	return `Examples:

    sapwood version
    sapwood version --json`
}

// Run prints the version, and the commit when the binary was built inside a repository.
func (c *versionCmd) Run(std *streams) error {
	v := struct {
		Version string `json:"version"`
		Commit  string `json:"commit,omitempty"`
		Go      string `json:"go"`
		OS      string `json:"os"`
		Arch    string `json:"arch"`
	}{Version: app.Version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	if c.JSON {
		return json.NewEncoder(std.out).Encode(v)
	}
	commit := ""
	if v.Commit != "" {
		commit = " (" + v.Commit[:min(12, len(v.Commit))] + ")"
	}
	_, err := fmt.Fprintf(std.out, "sapwood %s%s %s %s/%s\n", v.Version, commit, v.Go, v.OS, v.Arch)
	return err
}
