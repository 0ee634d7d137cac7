package clients

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/xdg-go/scram"
)

// at is the same commands at another address, with other arguments.
func (m *mosquitto) at(addr string, args ...string) *mosquitto {
	return &mosquitto{m.t, m.version, addr, args}
}

// refused wants mosquitto_pub to fail, or its message, and to say why. (It succeeds also when its message is refused.)
func (m *mosquitto) refused(why string, args ...string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	if !slices.Contains(args, "-t") {
		args = append(args, "-t", "refused")
	}
	out, err := m.command(ctx, m.broker, "mosquitto_pub", append(args, "-m", "x", "-q", "1")...).CombinedOutput()
	if err == nil && !strings.Contains(string(out), "failed") || ctx.Err() != nil || !strings.Contains(string(out), why) {
		m.t.Errorf("mosquitto_pub %q %q: %v, want %q; it prints\n%s", m.args, args, err, why, out)
	}
}

// ends waits until a mosquitto_sub is disconnected, and wants it to be told why.
func (s *sub) ends(why string) {
	s.t.Helper()
	if got := s.line("Received DISCONNECT "); !strings.Contains(got, why) {
		s.t.Errorf("the broker ends the connection with %q, want %q", got, why)
	}
}

// TestAccounts: users with passwords are made, changed and deleted while mosquitto's commands come and stay.
func TestAccounts(t *testing.T) {
	t.Parallel()
	b := startConfigured(t, "authentication: {chain: [password]}\nlisteners:\n"+listener("tcp")+listener("mqtts")+"http: {address: \"127.0.0.1:0\"}\n")
	b.cli("first secret\n", "users", "add", "anna", "--person", "--password-stdin")
	b.cli("second secret\n", "users", "add", "press", "--client-id", "press-*", "--password-stdin")
	for _, version := range allVersions() {
		m := &mosquitto{t: t, version: version}
		for i, args := range [][]string{nil, {"--cafile", authority()}} {
			m := m.at(b.at(i), args...)
			m.run("mosquitto_pub", "-u", "anna", "-P", "first secret", "-t", "a", "-m", "x", "-q", "1")
			m.run("mosquitto_pub", "-u", "press", "-P", "second secret", "-i", "press-1", "-t", "a", "-m", "x", "-q", "2")
			why := "Bad User Name or Password"
			if version == "mqttv311" || version == "mqttv31" {
				why = "Connection error: Connection Refused: "
			}
			m.refused(why)
			if version == "mqttv5" {
				why = "Not authorized"
			}
			m.refused(why, "-u", "press", "-P", "second secret", "-i", "pressure")
		}
	}
	m := &mosquitto{t, "mqttv5", b.at(1), []string{"--cafile", authority()}}
	m.refused("Bad User Name or Password", "-u", "anna", "-P", "wrong")
	m.refused("Bad User Name or Password", "-u", "nobody", "-P", "first secret")
	m.at(b.at(0)).refused("Bad User Name or Password", "-u", "anna", "-P", "second secret")

	live := m.sub("-u", "anna", "-P", "first secret", "-t", "a")
	b.cli("third secret\n", "users", "password", "anna", "--password-stdin")
	live.ends("")
	m.refused("Bad User Name or Password", "-u", "anna", "-P", "first secret")
	live = m.sub("-u", "anna", "-P", "third secret", "-t", "a")
	b.cli("", "users", "delete", "anna")
	live.ends("")
	m.refused("Bad User Name or Password", "-u", "anna", "-P", "third secret")
}

// TestClientCertificates: mosquitto's commands show certificates of the binary's own authority; rules go by their names; a
// revoked one is out at once.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	cert := func(args ...string) { sapwood(t, "", append(append([]string{"cert"}, args...), "--dir", dir)...) }
	cert("init", "127.0.0.1")
	cert("client", "pump-7", "pump-8")
	b := startConfigured(t, fmt.Sprintf(`
authentication: {chain: [certificate]}
listeners:
  - {address: "127.0.0.1:0", tls: {certificate: %[1]s/server.crt, key: %[1]s/server.key, client_ca: %[1]s/ca.crt, crl: %[1]s/ca.crl}}
authorization:
  rules:
    - {allow: [publish, subscribe, receive], topics: ["data/{cn}/#"]}
    - {allow: [subscribe], topics: ["#"], common_names: [pump-8]}
http: {address: "127.0.0.1:0"}
watch_interval: 100ms
`, dir))
	as := func(name string) *mosquitto {
		return &mosquitto{t, "mqttv5", b.at(0), []string{"--cafile", dir + "/ca.crt", "--cert", dir + "/clients/" + name + ".crt", "--key", dir + "/clients/" + name + ".key", "-i", name}}
	}
	seven, eight := as("pump-7"), as("pump-8")
	live := seven.sub("-t", "data/pump-7/#")
	other := eight.sub("-t", "#")
	for _, from := range []*mosquitto{seven.at(b.at(0), seven.args[:6]...), eight.at(b.at(0), eight.args[:6]...)} {
		for _, name := range []string{"pump-7", "pump-8"} {
			from.run("mosquitto_pub", "-t", "data/"+name+"/x", "-m", from.args[3][len(dir+"/clients/"):], "-q", "1")
		}
	}
	live.gets("data/pump-7/x 0 0 pump-7.crt")
	other.gets("data/pump-8/x 0 0 pump-8.crt")
	seven.at(b.at(0), seven.args[:2]...).refused("") // none
	cert("revoke", "pump-7")
	live.ends("")
	seven.at(b.at(0), seven.args[:6]...).refused("")
	eight.at(b.at(0), eight.args[:6]...).run("mosquitto_pub", "-t", "data/pump-8/x", "-m", "still here", "-q", "1")
	other.gets("data/pump-8/x 0 0 still here")
}

// token is a JWT signed with HS256.
func token(t *testing.T, secret string, claims map[string]any) string {
	t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(body)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

// TestToken: mqtt.js with a JWT as password, through WebSocket: its rules hold, and when it expires the client is disconnected.
func TestToken(t *testing.T) {
	t.Parallel()
	const secret = "thirty-two bytes are the least.."
	b := startConfigured(t, "authentication: {chain: [jwt], jwt: {secret: \""+secret+"\", leeway: 0s, bindings: [{claim: device, is: client}]}}\n"+
		"listeners:\n"+listener("ws")+listener("wss")+"http: {address: \"127.0.0.1:0\"}\n"+
		"authorization: {rules: [{allow: [subscribe, receive], topics: [\"cmd/{user}/#\"]}]}\n")
	claims := func(life time.Duration) map[string]any {
		return map[string]any{
			"sub": "meter-7", "device": "d7", "exp": time.Now().Add(life).Unix(),
			"acl": []any{map[string]any{"allow": []string{"publish"}, "topics": []string{"cmd/{user}/echo"}}},
		}
	}
	for i, door := range []string{"ws", "wss"} {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprint(door, " v", version), func(t *testing.T) {
				in := make(chan message, 10)
				told := make(chan byte, 1)
				o := options{addr: b.at(i), door: door, id: "d7", password: token(t, secret, claims(time.Hour)), receive: func(m message) { in <- m }}
				o.user = "whoever"
				for _, wrong := range []struct{ id, password string }{
					{"d7", token(t, secret+"!", claims(time.Hour))}, {"d8", o.password}, {"d7", token(t, secret, claims(-time.Minute))}, {"d7", "no token"},
				} {
					o := o
					o.id, o.password = wrong.id, wrong.password
					if _, err := dialJS(t.Context(), version, o); err == nil {
						t.Errorf("%q is let in with %q", o.id, o.password)
					}
				}
				o.told = func(reason byte) { told <- reason }
				life := 8 * time.Second // in which a busy machine has to do what follows
				o.password = token(t, secret, claims(life))
				js, err := dialJS(t.Context(), version, o)
				if err != nil {
					t.Fatal(err)
				}
				c := &conn{client: js, t: t, id: "d7", in: in}
				c.subscribed("cmd/meter-7/#", 1)
				if code, _ := c.subscribe("cmd/meter-8/#", 1); code < 0x80 {
					t.Errorf("may subscribe to what is another's: %#x", code)
				}
				c.published(message{Topic: "cmd/meter-7/echo", Payload: "hello", QoS: 1})
				c.gets(message{Topic: "cmd/meter-7/echo", Payload: "hello", QoS: 1})
				if version == 5 {
					if r := c.await(c.publish(message{Topic: "cmd/meter-7/other", QoS: 1})); r.code != 0x87 {
						t.Errorf("publishes what the token does not allow: %+v", r)
					}
					select {
					case reason := <-told:
						if reason != 0x87 && reason != 0xA0 { // not authorized, or maximum connect time
							t.Errorf("ended with %#x", reason)
						}
					case <-time.After(patience):
						t.Error("outlives its token")
					}
				}
				js.close()
			})
		}
	}
}

// exchange is the client's side of SCRAM for paho.
type exchange struct {
	t *testing.T
	c *scram.ClientConversation
}

func (e *exchange) Authenticate(a *paho.Auth) *paho.Auth {
	answer, err := e.c.Step(string(a.Properties.AuthData))
	if err != nil {
		e.t.Errorf("SCRAM: %v", err)
	}
	return &paho.Auth{ReasonCode: 0x18, Properties: &paho.AuthProperties{AuthMethod: a.Properties.AuthMethod, AuthData: []byte(answer)}}
}

func (e *exchange) Authenticated() {}

// TestScram: paho.golang proves that it knows the password, without sending it; and again while it is connected.
func TestScram(t *testing.T) {
	t.Parallel()
	b := startConfigured(t, "authentication: {chain: [password], scram: [SCRAM-SHA-256, SCRAM-SHA-512]}\nlisteners:\n"+
		listener("tcp")+"http: {address: \"127.0.0.1:0\"}\n")
	b.cli("pencil and paper\n", "users", "add", "anna", "--person", "--password-stdin")
	for method, hash := range map[string]scram.HashGeneratorFcn{"SCRAM-SHA-256": scram.SHA256, "SCRAM-SHA-512": scram.SHA512} {
		for _, password := range []string{"pencil and paper", "pencil and pen"} {
			t.Run(method+" "+password, func(t *testing.T) {
				conn, err := net.Dial("tcp", b.at(0))
				if err != nil {
					t.Fatal(err)
				}
				begin := func() (*exchange, string) {
					client, err := hash.NewClient("anna", password, "")
					if err != nil {
						t.Fatal(err)
					}
					e := &exchange{t, client.NewConversation()}
					first, err := e.c.Step("")
					if err != nil {
						t.Fatal(err)
					}
					return e, first
				}
				e, first := begin()
				c := paho.NewClient(paho.ClientConfig{ClientID: "anna", Conn: conn, AuthHandler: e, PacketTimeout: patience})
				ack, err := c.Connect(t.Context(), &paho.Connect{
					ClientID: "anna", KeepAlive: 30, CleanStart: true,
					Properties: &paho.ConnectProperties{AuthMethod: method, AuthData: []byte(first)},
				})
				if password != "pencil and paper" {
					if err == nil || ack == nil || ack.ReasonCode != 0x86 && ack.ReasonCode != 0x87 {
						t.Fatalf("a wrong password: %+v, %v", ack, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := e.c.Step(string(ack.Properties.AuthData)); err != nil || !e.c.Valid() {
					t.Errorf("the broker does not prove that it knows the password: %v", err)
				}
				if _, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a", QoS: 1}}}); err != nil {
					t.Error(err)
				}
				again, first := begin()
				e.c = again.c
				r, err := c.Authenticate(t.Context(), &paho.Auth{ReasonCode: 0x19, Properties: &paho.AuthProperties{AuthMethod: method, AuthData: []byte(first)}})
				if err != nil || !r.Success {
					t.Errorf("re-authentication: %+v, %v", r, err)
				}
				if err := c.Disconnect(&paho.Disconnect{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
