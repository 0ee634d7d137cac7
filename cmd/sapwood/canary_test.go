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
	"slices"
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
	entered  int // clients that were let in
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

// secretSettings sets every setting that is a secret by its variable, every other one by a file that the variable refers to; of a
// list, in its first element.
func (a *aviary) secretSettings(dir string) (env []string) {
	schema, err := json.Marshal(app.Schema())
	if err != nil {
		a.Fatal(err)
	}
	a.search("the schema", schema)
	env = append(env, "SAPWOOD_AUTHENTICATION_HTTP_HEADERS_0_NAME=X-Key", "SAPWOOD_TELEMETRY_HEADERS_0_NAME=X-Key")
	for i, key := range app.SecretKeys() {
		value := a.canary(key.Path) + strings.Repeat("-", 64) // as long as any must be
		if i%2 == 0 {
			file := filepath.Join(dir, fmt.Sprint("secret", i))
			if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
				a.Fatal(err)
			}
			value = "${file:" + file + "}"
		}
		env = append(env, strings.ReplaceAll(key.Env, "_N_", "_0_")+"="+value)
	}
	return env
}

// backends is a configuration that asks every backend, each at a listener of its own after the first one; their servers are not there.
// The listener for certificates shows one whose private key is a canary.
func (a *aviary) backends(dir string) string {
	if out, err := exec.Command("sapwood", "cert", "init", "localhost", "--dir", dir).CombinedOutput(); err != nil {
		a.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"ca.key", "server.key"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			a.Fatal(err)
		}
		a.canaries[strings.Split(string(text), "\n")[1]] = name
	}
	text := "log: {level: debug}\nauthentication:\n  scram: [SCRAM-SHA-256, SCRAM-SHA-512]\n" +
		"  http: {url: 'http://127.0.0.1:1/'}\n  postgres: {port: 1, query: 'select $1'}\n" +
		"  ldap: {url: 'ldap://127.0.0.1:1', bind_dn: 'cn=broker', base: 'dc=example'}\n" +
		"listeners:\n  - authentication: [password]\n"
	for _, name := range []string{"jwt", "http", "postgres", "ldap"} {
		text += fmt.Sprintf("  - {name: %s, address: '127.0.0.1:0', authentication: [%[1]s]}\n", name)
	}
	return text + fmt.Sprintf("  - {name: tls, address: '127.0.0.1:0', authentication: [certificate], tls: {certificate: %[1]s/server.crt, key: %[1]s/server.key, client_ca: %[1]s/ca.crt}}\n", dir)
}

// people makes a user and a device, whose secrets are canaries from here on, and gives their passwords.
func (a *aviary) people(env []string, data string) []string {
	password := a.canary("the password of a user")
	cmd := exec.Command("sapwood", "users", "add", "u", "--person", "--password-stdin", "--data", data)
	cmd.Env, cmd.Stdin = env, strings.NewReader(password+"\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.Fatalf("%v: %s", err, out)
	}
	a.search("users add", out)
	cmd = exec.Command("sapwood", "devices", "create", "press-07", "--data", data)
	cmd.Env = env
	if out, err = cmd.Output(); err != nil {
		a.Fatalf("%v: %s", err, out)
	}
	device := strings.Split(strings.TrimSpace(string(out)), ",") // name,secret and below them ours
	secret := device[len(device)-1]
	if len(secret) < 16 {
		a.Fatalf("no secret: %s", out)
	}
	a.canaries[secret] = "the secret of a device"
	a.run(env, "users", "list", "--json", "--data", data)
	a.run(env, "users", "show", "u", "--data", data)
	a.run(env, "users", "show", "press-07", "--data", data)
	return []string{password, secret}
}

// F158, F201: a running process that has canaries in the place of all its secrets shows none, whatever it is asked and however it ends.
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
	write(file, a.backends(filepath.Join(dir, "pki")))
	write(referred, a.canary("a file that a reference names")+"\n")
	admin := a.canary("the password of admin")
	secrets := a.secretSettings(dir)
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

	passwords := a.people(env, data)
	for _, url := range began.MQTT {
		for _, user := range []string{"u", "press-07"} {
			for _, password := range append(passwords, a.canary("the password of a client")) {
				a.mqtt(url, user, password)
			}
		}
	}
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
	if a.entered < 2 {
		t.Errorf("%d clients were let in", a.entered)
	}
	if a.searched < 30 {
		t.Errorf("only %d outputs were searched", a.searched)
	}
}

// mqtt connects with a password, which may be good; TLS listeners see bytes that are none.
func (a *aviary) mqtt(url, user, password string) {
	a.Helper()
	field := func(s string) []byte { return append([]byte{0, byte(len(s))}, s...) }
	body := slices.Concat([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 0xC2, 0, 60, 0, 1, 'c'}, field(user), field(password))
	packet := append([]byte{0x10, byte(len(body))}, body...)
	_, address, _ := strings.Cut(url, "://")
	c, err := net.Dial("tcp", address)
	if err != nil {
		a.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write(packet); err != nil {
		a.Fatal(err)
	}
	var ack [4]byte
	if _, err := io.ReadFull(c, ack[:]); err != nil || ack[3] != 0 {
		return
	}
	a.entered++
	// A second CONNECT is an error that may be written to the log.
	c.Write(packet)
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
