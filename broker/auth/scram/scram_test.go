package scram

import (
	"context"
	"crypto/pbkdf2"
	"encoding/base64"
	"errors"
	"hash"
	"strings"
	"testing"
	"time"

	peer "github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

const iterations = 4096

// book keeps keys by user name and method.
type book map[string]*Key

func (b book) Key(_ context.Context, user, method string) (*Key, error) {
	if k := b[user+" "+method]; k != nil {
		return k, nil
	}
	return nil, auth.ErrUnknown
}

func (b book) add(t *testing.T, user, password string) book {
	t.Helper()
	for _, method := range []string{SHA256, SHA512} {
		k, err := derive(hashOf(method), password, []byte("sixteen bytes of")[:saltBytes], iterations)
		if err != nil {
			t.Fatal(err)
		}
		k.Admit = func(context.Context, *auth.Attempt) (*auth.Identity, error) {
			return &auth.Identity{Name: user, By: By}, nil
		}
		b[user+" "+method] = k
	}
	return b
}

// derive makes the key for a password (RFC 5802 3).
func derive(hashed func() hash.Hash, password string, salt []byte, iterations int) (*Key, error) {
	prepared, err := stringprep.SASLprep.Prepare(password)
	if err != nil {
		return nil, err
	}
	salted, err := pbkdf2.Key(hashed, prepared, salt, iterations, hashed().Size())
	if err != nil {
		return nil, err
	}
	h := hashed()
	h.Write(sum(hashed, salted, "Client Key"))
	return &Key{Salt: salt, Iterations: iterations, StoredKey: h.Sum(nil), ServerKey: sum(hashed, salted, "Server Key")}, nil
}

func clientOf(t *testing.T, method, user, password, authzid string) *peer.ClientConversation {
	t.Helper()
	c, err := map[string]peer.HashGeneratorFcn{SHA256: peer.SHA256, SHA512: peer.SHA512}[method].NewClient(user, password, authzid)
	if err != nil {
		t.Fatal(err)
	}
	return c.NewConversation()
}

func exchangeOf(t *testing.T, x *Exchanger, a *auth.Attempt) auth.Exchange {
	t.Helper()
	e, err := x.Begin(a)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// converse plays an exchange with a client that somebody else wrote.
func converse(t *testing.T, x *Exchanger, a *auth.Attempt, c *peer.ClientConversation) (*auth.Identity, error) {
	t.Helper()
	e := exchangeOf(t, x, a)
	say := ""
	for {
		message, err := c.Step(say)
		if err != nil {
			t.Fatalf("the client does not like %q: %v", say, err)
		}
		answer, id, err := e.Next(t.Context(), []byte(message))
		if err != nil {
			return nil, err
		}
		say = string(answer)
		if id != nil {
			if _, err := c.Step(say); err != nil || !c.Valid() {
				t.Fatalf("the server has not proved itself by %q: %v", say, err)
			}
			return id, nil
		}
	}
}

func TestExchange(t *testing.T) {
	x := New(book{}.add(t, "anna", "pencil").add(t, "a,b=c", "x").add(t, "IX", "roman"), nil, []int{iterations}, nil)
	f := func(user, password, authzid string, a auth.Attempt, want string) {
		t.Helper()
		for _, method := range x.Methods() {
			a.Method = method
			id, err := converse(t, x, &a, clientOf(t, method, user, password, authzid))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != want || err == nil && id.Name == "" {
				t.Errorf("%s %q %q: %v, %q; want %q", method, user, password, id, got, want)
			}
		}
	}
	f("anna", "pencil", "", auth.Attempt{}, "")
	f("anna", "pencil", "", auth.Attempt{HasUser: true, Username: "anna"}, "")
	f("anna", "pencil", "anna", auth.Attempt{}, "")
	f("a,b=c", "x", "", auth.Attempt{}, "")
	f("\u2168", "r\u00adoman", "", auth.Attempt{}, "") // RFC 4013: the same as IX and roman
	f("anna", "pen", "", auth.Attempt{}, "scram: nobody knows such credentials")
	f("bert", "pencil", "", auth.Attempt{}, "scram: nobody knows such credentials")
	f("anna", "pencil", "bert", auth.Attempt{}, "scram: authorisation as somebody else is not possible")
	f("anna", "pencil", "", auth.Attempt{HasUser: true, Username: "bert"}, "scram: the user name of CONNECT is another one")
}

// A client may begin without data; it is asked for it once.
func TestBeginWithoutData(t *testing.T) {
	x := New(book{}.add(t, "anna", "pencil"), nil, []int{iterations}, nil)
	e := exchangeOf(t, x, &auth.Attempt{Method: SHA256})
	if answer, id, err := e.Next(t.Context(), nil); len(answer) != 0 || id != nil || err != nil {
		t.Fatal(answer, id, err)
	}
	if _, _, err := e.Next(t.Context(), nil); err == nil {
		t.Error("asked again")
	}
}

// F160: nothing that was heard in one exchange is of use in another, nor twice in the same one.
func TestReplay(t *testing.T) {
	x := New(book{}.add(t, "anna", "pencil"), nil, []int{iterations}, nil)
	nonces := map[string]bool{}
	c := clientOf(t, SHA256, "anna", "pencil", "")
	first, _ := c.Step("")
	heard := exchangeOf(t, x, &auth.Attempt{Method: SHA256})
	challenge, _, err := heard.Next(t.Context(), []byte(first))
	if err != nil {
		t.Fatal(err)
	}
	final, err := c.Step(string(challenge))
	if err != nil {
		t.Fatal(err)
	}
	if _, id, err := heard.Next(t.Context(), []byte(final)); err != nil || id == nil {
		t.Fatal(id, err)
	}
	if _, id, err := heard.Next(t.Context(), []byte(final)); err == nil || id != nil {
		t.Error("the same exchange again:", id, err)
	}
	for range 100 {
		e := exchangeOf(t, x, &auth.Attempt{Method: SHA256})
		answer, _, err := e.Next(t.Context(), []byte(first))
		if err != nil {
			t.Fatal(err)
		}
		nonce, _, _ := strings.Cut(string(answer), ",")
		if nonces[nonce] {
			t.Fatal("the server's nonce comes again")
		}
		nonces[nonce] = true
		if _, id, err := e.Next(t.Context(), []byte(final)); err == nil || id != nil {
			t.Fatal("replayed:", id, err)
		}
	}
}

// F160: a message out of turn is none.
func TestOutOfTurn(t *testing.T) {
	x := New(book{}.add(t, "anna", "pencil"), nil, []int{iterations}, nil)
	for _, messages := range [][]string{
		{"c=biws,r=abc,p=AAAA"},
		{"n,,n=anna,r=abc", "n,,n=anna,r=abc"},
		{"n,,n=anna,r=abc", "c=biws,r=abc,p=AAAA", "n,,n=anna,r=abc"},
	} {
		e := exchangeOf(t, x, &auth.Attempt{Method: SHA256})
		for i, m := range messages {
			_, id, err := e.Next(t.Context(), []byte(m))
			if id != nil || (err == nil) != (i == 0 && len(messages) > 1) {
				t.Errorf("%q: %v, %v", messages[:i+1], id, err)
			}
		}
	}
}

// TestPretence: nothing tells a user that there is not from one that there is (F193 for MQTT).
func TestPretence(t *testing.T) {
	keys := book{}.add(t, "anna", "pencil")
	secret := []byte("a secret that outlives the process")
	ask := func(x *Exchanger, user string) []string {
		answer, _, err := exchangeOf(t, x, &auth.Attempt{Method: SHA256}).Next(t.Context(), []byte("n,,n="+user+",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(answer), ",")
	}
	real, made := ask(New(keys, secret, []int{iterations}, nil), "anna"), ask(New(keys, secret, []int{iterations}, nil), "bert")
	if len(real) != 3 || len(made) != 3 || len(real[0]) != len(made[0]) || len(real[1]) != len(made[1]) || real[2] != made[2] {
		t.Errorf("%q and %q differ", real, made)
	}
	if again := ask(New(keys, secret, []int{iterations}, nil), "bert"); again[1] != made[1] {
		t.Errorf("the salt of nobody was %s and is %s", made[1], again[1])
	}
	if other := ask(New(keys, secret, []int{iterations}, nil), "carl"); other[1] == made[1] {
		t.Error("the salt of nobody is that of everybody")
	}
}

func TestMalformed(t *testing.T) {
	x := New(book{}.add(t, "anna", "pencil"), nil, []int{iterations}, nil)
	fails := func(e auth.Exchange, message string) {
		t.Helper()
		answer, id, err := e.Next(t.Context(), []byte(message))
		var no *auth.Refusal
		if !errors.As(err, &no) || answer != nil || id != nil || no.Reason != mqtt.NotAuthorized {
			t.Errorf("%.60q: %q, %v, %v", message, answer, id, err)
		}
	}
	for _, m := range []string{
		"n", "n,", "n,,", "n,,n=anna", "n,,r=abc,n=anna", "p=tls-unique,,n=anna,r=abc", "x,,n=anna,r=abc", "n,b=x,n=anna,r=abc",
		"n,,m=1,n=anna,r=abc", "n,,n=,r=abc", "n,,n=a=2cb,r=abc", "n,,n=anna=,r=abc", "n,,n=anna,r=", "n,,n=anna,r=a b",
		"n,,n=anna,r=abc,p=x", "n,,n=anna,r=abc,", "n,,n=\x00,r=abc", "n,,n=\xff,r=abc", "n,,n=\u0007,r=abc", "n,a=,n=anna,r=abc",
		"n,,n=anna,r=" + strings.Repeat("x", maxMessage),
	} {
		fails(exchangeOf(t, x, &auth.Attempt{Method: SHA256}), m)
	}
	for _, m := range []string{
		"", "c=biws", "c=biws,r=%,p=!", "c=biws,p=AAAA", "c=!,r=%,p=AAAA", "c=biws,r=%,p=AAAA", "c=eSws,r=%,p=" + proof, "c=biws,r=%,n=x,p=" + proof,
		"c=biws,r=%" + strings.Repeat("x", maxMessage) + ",p=" + proof,
	} {
		e := exchangeOf(t, x, &auth.Attempt{Method: SHA256})
		answer, _, err := e.Next(t.Context(), []byte("n,,n=anna,r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		nonce, _, _ := strings.Cut(strings.TrimPrefix(string(answer), "r="), ",")
		fails(e, strings.ReplaceAll(m, "%", nonce))
	}
	if _, err := x.Begin(&auth.Attempt{Method: "SCRAM-SHA-1"}); err == nil {
		t.Error("another method was begun")
	}
}

var proof = base64.StdEncoding.EncodeToString(make([]byte, 32))

// When the keys cannot be had, nobody is let in and nobody is told that the password was wrong.
func TestKeysOutOfReach(t *testing.T) {
	down := errors.New("the database is down")
	x := New(unreachable{down}, nil, []int{iterations}, nil)
	_, err := converse(t, x, &auth.Attempt{Method: SHA256}, clientOf(t, SHA256, "anna", "pencil", ""))
	var no *auth.Refusal
	if !errors.Is(err, down) || errors.As(err, &no) {
		t.Error(err)
	}
}

type unreachable struct{ err error }

func (u unreachable) Key(context.Context, string, string) (*Key, error) { return nil, u.err }

// What is said after the proof, such as that a user is disabled, is the last word.
func TestNotAdmitted(t *testing.T) {
	keys := book{}.add(t, "anna", "pencil")
	keys["anna "+SHA256].Admit = func(context.Context, *auth.Attempt) (*auth.Identity, error) {
		return nil, &auth.Refusal{Reason: mqtt.NotAuthorized, Text: "not authorized", By: "accounts", Why: "disabled"}
	}
	_, err := converse(t, New(keys, nil, []int{iterations}, nil), &auth.Attempt{Method: SHA256}, clientOf(t, SHA256, "anna", "pencil", ""))
	if err == nil || err.Error() != "accounts: disabled" {
		t.Error(err)
	}
}

// The vectors of RFC 7677 3: what we sign with a key is what it says.
func TestVectors(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	k, err := derive(hashOf(SHA256), "pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	bare := "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	if got := base64.StdEncoding.EncodeToString(sum(hashOf(SHA256), k.ServerKey, bare)); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Error(got)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add("n,,n=anna,r=abc", "c=biws,r=abc,p=AAAA")
	f.Add("y,a=anna,n=a=2Cb,r=abc,x=y", "c=eSws,r=abc,x=1,p=")
	f.Fuzz(func(t *testing.T, a, b string) {
		x := New(book{}, []byte("s"), []int{iterations}, nil)
		e, _ := x.Begin(&auth.Attempt{Method: SHA512})
		answer, id, err := e.Next(t.Context(), []byte(a))
		if id != nil || err != nil && answer != nil {
			t.Fatal(answer, id, err)
		}
		if err != nil {
			return
		}
		nonce, _, _ := strings.Cut(strings.TrimPrefix(string(answer), "r="), ",")
		if _, id, err := e.Next(t.Context(), []byte(strings.ReplaceAll(b, "abc", nonce))); id != nil || err == nil && a != "" {
			t.Fatal(id, err)
		}
	})
}

// count is a Guard that slows after so many that were wrong.
type count struct{ wrong, right, most int }

func (c *count) Wait(*auth.Attempt) time.Duration {
	return time.Duration(max(0, c.wrong-c.most+1))
}

func (c *count) Wrong(a *auth.Attempt) {
	if a.Username == "anna" {
		c.wrong++
	}
}

func (c *count) Right(a *auth.Attempt) {
	if a.Username == "anna" {
		c.right++
	}
}

// TestGuard: who guesses is slowed as with passwords, also in exchanges that were begun before (F157).
func TestGuard(t *testing.T) {
	g := &count{most: 2}
	x := New(book{}.add(t, "anna", "pencil"), nil, []int{iterations}, g)
	if _, err := converse(t, x, &auth.Attempt{Method: SHA256}, clientOf(t, SHA256, "anna", "pencil", "")); err != nil || g.right != 1 {
		t.Fatalf("%v, %+v", err, g)
	}
	early, c := exchangeOf(t, x, &auth.Attempt{Method: SHA256}), clientOf(t, SHA256, "anna", "pencil", "")
	first, err := c.Step("")
	if err != nil {
		t.Fatal(err)
	}
	challenge, _, err := early.Next(t.Context(), []byte(first))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := converse(t, x, &auth.Attempt{Method: SHA256}, clientOf(t, SHA256, "anna", "guess", "")); err == nil {
			t.Fatal("a guess was right")
		}
	}
	slowed := func(err error) {
		t.Helper()
		var no *auth.Refusal
		if !errors.As(err, &no) || no.Reason != mqtt.ConnectionRateExceeded {
			t.Errorf("got %v", err)
		}
	}
	_, err = converse(t, x, &auth.Attempt{Method: SHA256}, clientOf(t, SHA256, "anna", "pencil", ""))
	slowed(err)
	final, err := c.Step(string(challenge))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = early.Next(t.Context(), []byte(final))
	slowed(err)
	if g.wrong != 2 || g.right != 1 {
		t.Errorf("%+v", g)
	}
}
