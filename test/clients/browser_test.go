package clients

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// page is what a browser loads from another site than the broker's. For each visit, one after the other, it connects, subscribes,
// publishes to itself at every QoS with payloads of many sizes, and tells what came back.
const page = `<!doctype html><title>mqtt.js</title><script src="/mqtt.js"></script><script>
const sizes = [0, 1, 125, 126, 127, 65535, 65536, 200000];
const visit = v => new Promise(done => {
	const {url, ...options} = v, got = [];
	const client = mqtt.connect(url, {...options, clientId: "browser", reconnectPeriod: 0, connectTimeout: 60000});
	const end = error => { done({got, error}); client.end(true); };
	client.on("error", e => end(String(e)));
	client.on("close", () => end("closed"));
	client.on("message", (topic, payload) => {
		got.push(topic + " " + payload.length + " " + payload.every(b => b === payload.length % 251));
		if (got.length === sizes.length * 3) end("");
	});
	client.on("connect", () => client.subscribe("page/#", {qos: 2}, err => {
		if (err) return end(String(err));
		for (const qos of [0, 1, 2]) for (const n of sizes) client.publish("page/" + qos, new Uint8Array(n).fill(n % 251), {qos});
	}));
});
(async () => {
	const results = [];
	for (const v of VISITS) results.push(await visit(v));
	fetch("/results", {method: "POST", body: JSON.stringify(results)});
})();
</script>`

// visit is one connection of the page, with the names of mqtt.js.
type visit struct {
	URL      string `json:"url"`
	Version  int    `json:"protocolVersion"`
	User     string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

type visited struct {
	Got   []string `json:"got"`
	Error string   `json:"error"`
}

// browse opens the page in headless Chromium and returns what it tells of each visit.
func browse(t *testing.T, visits []visit) []visited {
	t.Helper()
	library, err := os.ReadFile("js/node_modules/mqtt/dist/mqtt.min.js")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := json.Marshal(visits)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan []visited, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(strings.Replace(page, "VISITS", string(plan), 1)))
	})
	mux.HandleFunc("GET /mqtt.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		w.Write(library)
	})
	mux.HandleFunc("POST /results", func(_ http.ResponseWriter, r *http.Request) {
		var all []visited
		if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
			t.Error(err)
		}
		told <- all
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	// Not t.TempDir: the browser's last processes may still write into it.
	profile, err := os.MkdirTemp("", "clients-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	chromium := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
		"--remote-debugging-port=0", "--user-data-dir="+profile, site.URL)
	chromium.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has many processes
	chromium.Cancel = func() error { return syscall.Kill(-chromium.Process.Pid, syscall.SIGKILL) }
	if err := chromium.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); chromium.Wait() })
	select {
	case all := <-told:
		if len(all) != len(visits) {
			t.Fatalf("the page tells of %d visits of %d", len(all), len(visits))
		}
		return all
	case <-ctx.Done():
		t.Fatal("the page tells nothing")
		return nil
	}
}

// TestBrowser: mqtt.js in a page of another site, through every door that a page can use, with and without a password.
func TestBrowser(t *testing.T) {
	t.Parallel()
	open := `origins: ["*"], `
	b := startConfigured(t, "listeners:\n"+
		listenerAt("ws", "127.0.0.1:0", open+"")+
		listenerAt("wss", "127.0.0.1:0", open+"authentication: [password], ")+
		listener("ws")+
		listenerAt("ws", "127.0.0.1:0", "origins: [\"https://friend.example.com\"], ")+
		`http: {address: "127.0.0.1:0", mqtt: {origins: ["*"], authentication: [password]}}`+"\n")
	b.cli("a page's secret\n", "users", "add", "anna", "--person", "--password-stdin")
	web := "ws://" + host(t, b.HTTP) + "/mqtt"
	var names []string
	var all []visit
	add := func(name string, v visit) { names, all = append(names, name), append(all, v) }
	add("ws 3.1.1", visit{URL: b.MQTT[0], Version: 4})
	add("ws 5", visit{URL: b.MQTT[0], Version: 5})
	add("wss 3.1.1", visit{b.MQTT[1], 4, "anna", "a page's secret"})
	add("wss 5", visit{b.MQTT[1], 5, "anna", "a page's secret"})
	add("http 3.1.1", visit{web, 4, "anna", "a page's secret"})
	add("http 5", visit{web, 5, "anna", "a page's secret"})
	good := len(all)
	add("wrong password 3.1.1", visit{web, 4, "anna", "wrong"})
	add("wrong password 5", visit{b.MQTT[1], 5, "anna", "wrong"})
	add("no password", visit{URL: web, Version: 5})
	add("no origins", visit{URL: b.MQTT[2], Version: 5})
	add("other origins", visit{URL: b.MQTT[3], Version: 5})
	for i, r := range browse(t, all) {
		t.Run(names[i], func(t *testing.T) {
			if i >= good {
				if r.Error == "" || len(r.Got) > 0 {
					t.Errorf("was let in: %q", r.Got)
				}
				if strings.Contains(names[i], "password") && !strings.Contains(r.Error, "ot authorized") && !strings.Contains(r.Error, "Bad") {
					t.Errorf("is told %q", r.Error)
				}
				return
			}
			if r.Error != "" || len(r.Got) != 24 {
				t.Fatalf("%s: %d messages came back", r.Error, len(r.Got))
			}
			for _, line := range r.Got {
				if !strings.HasSuffix(line, " true") {
					t.Errorf("%s: not what was sent", line)
				}
			}
		})
	}
}
