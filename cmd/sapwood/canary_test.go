package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
)

// aviary keeps canaries: texts that stand where secrets do, none twice. What the process says is searched for them.
type aviary struct {
	*testing.T
	canaries map[string]string // text to where it was put
	searched int
}

// canary makes one for a place.
func (a *aviary) canary(place string) string {
	text := fmt.Sprintf("canary%04dchirp", len(a.canaries))
	a.canaries[text] = place
	return text
}

// search looks for all of them in what came from a source.
func (a *aviary) search(source string, text []byte) {
	a.Helper()
	a.searched++
	for canary, place := range a.canaries {
		if at := bytes.Index(text, []byte(canary)); at >= 0 {
			a.Errorf("%s shows the secret of %s: %.200q", source, place, text[max(0, at-80):])
		}
	}
}

// run runs a command and searches what it prints.
func (a *aviary) run(env []string, args ...string) {
	a.Helper()
	cmd := exec.Command("sapwood", args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		a.Fatal(err)
	}
	a.search("sapwood "+strings.Join(args, " "), out)
}

// secretSettings sets every setting that is a secret, by its variable; an element of a list by the first one's.
func (a *aviary) secretSettings() (env []string) {
	schema, err := json.Marshal(app.Schema())
	if err != nil {
		a.Fatal(err)
	}
	a.search("the schema", schema)
	for _, key := range app.SecretKeys() {
		env = append(env, strings.ReplaceAll(key.Env, "[N]", "0")+"="+a.canary(key.Path))
	}
	return env
}

// F158: a running process that has canaries in the place of all its secrets shows none, whatever it is asked and however it ends.
func TestCanaries(t *testing.T) {
	a := &aviary{T: t, canaries: map[string]string{}}
	dir := t.TempDir()
	data, file, broken := filepath.Join(dir, "data"), filepath.Join(dir, "a.yaml"), filepath.Join(dir, "broken.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	referred := filepath.Join(dir, "level")
	write(file, "log: {level: debug}\n")
	write(referred, a.canary("a file that a reference names")+"\n")
	admin := a.canary("the password of admin")
	secrets := a.secretSettings()
	// A variable that only a reference names.
	base := append(os.Environ(), "CANARY="+a.canary("a variable that a reference names"))
	env := append(append([]string{}, base...), secrets...)

	cmd := exec.Command("sapwood", "serve", "--json", "--config", file, "--data", data, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0")
	cmd.Env = append(env, "SAPWOOD_ADMIN_PASSWORD="+admin)
	var logs bytes.Buffer
	cmd.Stderr = &logs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	var began announced
	var raw json.RawMessage
	if err := json.NewDecoder(stdout).Decode(&raw); err != nil {
		cmd.Wait()
		t.Fatalf("%v: %s", err, &logs)
	}
	a.search("the start", raw)
	if err := json.Unmarshal(raw, &began); err != nil {
		t.Fatal(err)
	}
	local, err := access.ReadLocal(data)
	if err != nil {
		t.Fatal(err)
	}
	a.canaries[local.Key] = "the local key"

	a.mqtt(strings.TrimPrefix(began.MQTT[0], "mqtt://"))
	// What goes wrong with a file is told without what stands in it.
	lines := "log: {level: '${file:" + referred + "}'}\nsys: {interval: '${env:CANARY}'}\n"
	for _, s := range app.SecretKeys() {
		lines += s.Path[strings.LastIndexByte(s.Path, '.')+1:] + ": " + a.canary("a misplaced "+s.Path) + "\n"
	}
	lines += "password: " + a.canary("an unknown key") + "\nfree text " + a.canary("free text") + "\n"
	write(broken, lines)
	half := filepath.Join(dir, "half.yaml")
	write(half, strings.Join(strings.Split(lines, "\n")[:2], "\n")+"\n")
	for _, name := range []string{broken, half} {
		a.run(env, "config", "check", name)
		a.run(env, "config", "check", "--json", name)
		a.run(env, "config", "diff", "--data", data, name)
		a.run(env, "config", "diff", "--data", data, "--json", name)
		a.run(env, "serve", "--config", name, "--data", filepath.Join(dir, "other"))
	}
	for _, data := range []string{data, filepath.Join(dir, "none")} { // of the running one, and of one that would
		a.run(env, "config", "explain", "--data", data)
		a.run(env, "config", "explain", "--data", data, "--json")
	}
	for _, key := range app.SecretKeys() {
		a.run(env, "config", "explain", "--data", data, strings.ReplaceAll(key.Path, "[]", "[0]"))
	}
	a.run(env, "config", "example")
	a.run(env, "config", "diff", "--data", data)
	a.run(base, "config", "diff", "--config", file, "--data", filepath.Join(dir, "none"), file)
	a.run(env, "config", "reload", "--data", data)
	a.run(env, "--help")
	a.run(env, "store", "stats", "--url", began.HTTP, "--password", a.canary("a wrong password of a command"))
	a.api(began.HTTP, admin)

	// A reload of a broken file, by signal; then the end, with all stacks.
	write(file, lines)
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	a.run(env, "config", "reload", "--data", data)
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if !strings.Contains(logs.String(), "goroutine ") {
		t.Error("no stacks at the end")
	}
	a.search("the log", logs.Bytes())
	delete(a.canaries, local.Key) // it is kept, for commands of the same user
	a.files(data)
	if a.searched < 30 {
		t.Errorf("only %d outputs were searched", a.searched)
	}
}

// mqtt connects with a password, which is not asked for and not told.
func (a *aviary) mqtt(address string) {
	a.Helper()
	password := a.canary("the password of a client")
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 0xC2, 0, 60, 0, 1, 'c', 0, 1, 'u', 0, byte(len(password))}, password...)
	c, err := net.Dial("tcp", address)
	if err != nil {
		a.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(append([]byte{0x10, byte(len(body))}, body...)); err != nil {
		a.Fatal(err)
	}
	var ack [4]byte
	if _, err := io.ReadFull(c, ack[:]); err != nil {
		a.Fatal(err)
	}
	// A second CONNECT is an error that may be written to the log.
	c.Write(append([]byte{0x10, byte(len(body))}, body...))
	io.Copy(io.Discard, c)
}

// api asks for everything that can be read, and logs in with a wrong password.
func (a *aviary) api(url, admin string) {
	a.Helper()
	get := func(method, path, user, password, body string) []byte {
		req, err := http.NewRequest(method, url+path, strings.NewReader(body))
		if err != nil {
			a.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		if body != "" {
			req.Header.Set("Content-Type", "application/yaml")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			a.Fatal(err)
		}
		defer resp.Body.Close()
		var all bytes.Buffer
		resp.Header.Write(&all)
		io.Copy(&all, resp.Body)
		a.search(method+" "+path, all.Bytes())
		return all.Bytes()
	}
	get("GET", "/api/v1/status", "admin", a.canary("a wrong password of the API"), "")
	var doc struct{ Paths map[string]map[string]any }
	openapi := get("GET", "/api/v1/openapi.json", "admin", admin, "")
	if err := json.Unmarshal(openapi[bytes.IndexByte(openapi, '{'):], &doc); err != nil || len(doc.Paths) == 0 {
		a.Fatalf("%v: %.200s", err, openapi)
	}
	for path, methods := range doc.Paths {
		if methods["get"] != nil && path != "/api/v1/backup" && !strings.Contains(path, "/events") {
			get("GET", strings.NewReplacer("{key}", "log", "{", "", "}", "").Replace(path), "admin", admin, "")
		}
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/" + a.canary("a path")[:4]} {
		get("GET", path, "admin", admin, "")
	}
	get("POST", "/api/v1/config/check", "admin", admin, "password: "+a.canary("a file that is checked")+"\n")
	get("POST", "/api/v1/config/check", "admin", admin, "log: {level: '${env:CANARY}'}\n")
	get("POST", "/api/v1/config/reload", "admin", admin, "")
}

// files searches what is kept.
func (a *aviary) files(dir string) {
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		a.search(name, text)
		return err
	})
	if err != nil {
		a.Error(err)
	}
}
