package webhook

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/authtest"
)

// users is a server as somebody might write one.
type users struct {
	mu       sync.Mutex
	password map[string]string
}

func (u *users) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q question
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if q.Binary != "" {
		raw, _ := base64.StdEncoding.DecodeString(q.Binary)
		q.Password = string(raw)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	result := "unknown"
	if password, ok := u.password[q.Username]; ok {
		if result = "deny"; password == q.Password && password != "" {
			result = "allow"
		}
	}
	says(`{"result": "`+result+`"}`)(w, r)
}

func TestSuite(t *testing.T) {
	u := &users{password: map[string]string{"meter-7": "right"}}
	at := func(t *testing.T, address string) auth.Authenticator {
		cfg := DefaultConfig()
		cfg.URL = "http://" + address
		return open(t, cfg)
	}
	listen := func(t *testing.T) net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	right := func() *auth.Attempt {
		return &auth.Attempt{Peer: authtest.Peer(), ClientID: "c1", Username: "meter-7", HasUser: true, Password: []byte("right"), HasPass: true}
	}
	authtest.Run(t, authtest.Harness{
		New:   func(t *testing.T) auth.Authenticator { return serve(t, nil, u.ServeHTTP) },
		Right: right,
		Name:  "meter-7",

		WrongPassword: authtest.Refused, EmptyPassword: authtest.Refused, NoPassword: authtest.Refused,
		UnknownUser: authtest.Unknown, NoUser: authtest.Unknown,
		With: func(_ *testing.T, password []byte) *auth.Attempt {
			u.mu.Lock()
			defer u.mu.Unlock()
			a := right()
			a.Username, a.Password = fmt.Sprint("with-", len(u.password)), password
			u.password[a.Username] = string(password)
			return a
		},
		Unreachable: func(t *testing.T) auth.Authenticator {
			l := listen(t)
			_ = l.Close()
			return at(t, l.Addr().String())
		},
		Hanging: func(t *testing.T) auth.Authenticator { return at(t, listen(t).Addr().String()) },
	})
}
