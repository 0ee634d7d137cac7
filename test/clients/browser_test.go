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

// page is what a browser loads from another site than the broker's: it connects, subscribes, publishes to itself at every QoS with
// payloads of many sizes, and tells what came back.
const page = `<!doctype html><title>mqtt.js</title><script src="/mqtt.js"></script><script>
const done = r => fetch("/result", {method: "POST", body: JSON.stringify(r)});
const sizes = [0, 1, 125, 126, 127, 65535, 65536, 200000];
const client = mqtt.connect("BROKER", {protocolVersion: VERSION, clientId: "browser", reconnectPeriod: 0, connectTimeout: 5000});
let got = [], expected = sizes.length * 3;
client.on("error", e => done({error: String(e)}));
client.on("close", () => done({error: "closed"}));
client.on("message", (topic, payload) => {
	got.push(topic + " " + payload.length + " " + payload.every(b => b === payload.length % 251));
	if (got.length === expected) done({got});
});
client.on("connect", () => client.subscribe("page/#", {qos: 2}, err => {
	if (err) return done({error: String(err)});
	for (const qos of [0, 1, 2]) for (const n of sizes) client.publish("page/" + qos, new Uint8Array(n).fill(n % 251), {qos});
}));
</script>`

// browse opens the page in headless Chromium and returns what it tells.
func browse(t *testing.T, broker string, version string) (result struct {
	Got   []string `json:"got"`
	Error string   `json:"error"`
}) {
	t.Helper()
	library, err := os.ReadFile("js/node_modules/mqtt/dist/mqtt.min.js")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan []byte, 8)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(strings.NewReplacer("BROKER", broker, "VERSION", version).Replace(page)))
	})
	mux.HandleFunc("GET /mqtt.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		w.Write(library)
	})
	mux.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
		var body json.RawMessage
		if json.NewDecoder(r.Body).Decode(&body) == nil {
			select {
			case told <- body:
			default: // the first one counts
			}
		}
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	profile, err := os.MkdirTemp("", "clients-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	chromium := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
		"--remote-debugging-port=0", "--user-data-dir="+profile, site.URL)
	chromium.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has many processes
	chromium.Cancel = func() error { return syscall.Kill(-chromium.Process.Pid, syscall.SIGKILL) }
	if err := chromium.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); chromium.Wait() })
	select {
	case body := <-told:
		if err := json.Unmarshal(body, &result); err != nil {
			t.Fatal(err)
		}
	case <-ctx.Done():
		t.Fatal("the page tells nothing")
	}
	return result
}

// TestBrowser: mqtt.js in a page of another site, over ws and wss.
func TestBrowser(t *testing.T) {
	cert, key := certificate(t)
	r := startConfigured(t, `
listeners:
  - {address: "127.0.0.1:0", protocol: websocket, origins: ["*"]}
  - {address: "127.0.0.1:0", protocol: websocket, origins: ["*"], tls: {certificate: "`+cert+`", key: "`+key+`"}}
http: {address: "127.0.0.1:0"}
`)
	for _, address := range r.MQTT {
		for _, version := range []string{"4", "5"} {
			t.Run(address[:3]+" v"+version, func(t *testing.T) {
				result := browse(t, address, version)
				if result.Error != "" || len(result.Got) != 24 {
					t.Fatalf("%s: %d messages came back", result.Error, len(result.Got))
				}
				for _, line := range result.Got {
					if !strings.HasSuffix(line, " true") {
						t.Errorf("%s: not what was sent", line)
					}
				}
			})
		}
	}
	t.Run("a foreign site", func(t *testing.T) {
		strict := startConfigured(t, `
listeners: [{address: "127.0.0.1:0", protocol: websocket}]
http: {address: "127.0.0.1:0"}
`)
		if result := browse(t, strict.MQTT[0], "5"); result.Error == "" {
			t.Fatalf("a page that no origin allows was let in: %v", result.Got)
		}
	})
}
