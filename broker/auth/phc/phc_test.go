package phc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Hashes that other programs made.
func known(t testing.TB) map[string]string {
	t.Helper()
	made, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{ // hash -> password
		// mosquitto_passwd 2.0
		"$7$101$G1cuOk4vkZ93Px2P$Awt5ZJbTOG5+IEka5ncPDA4QEfPOQsnt8lJt99DnkiRMHru9t3KLpwBjaZWc90iksOOKX7N9eveJcA/YKIjMbA==": "secret",
		"$6$yWE+Dx5Mn+xBUhV+$NQjWEhRzyMkKhTBNcpamt88ADytJM5nbhMNVMW+qMb91PyoZgIic1lcv2lHBRf1gz8UIisHhIsbKlmUtzA707A==":     "secret",
		"$7$101$ZL/ztM45Abn7uqMA$C4IQ202QI570/X9mz+2PLvsxC97Kf0l1z2wSUqFZ7rJC6tpwKNocTk5zD1f39r7vJ2sApV6AzgSO75VsxsqvKA==": "pä$s:wort",
		// the reference implementation of argon2 (test.c, version 0x13)
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc": "password",
		"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc":   "password",
		string(made): "secret",
		// the test vector of OpenBSD's crypt_blowfish
		"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": "U*U",
	}
}

func TestKnown(t *testing.T) {
	for text, password := range known(t) {
		h, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if h.String() != text {
			t.Errorf("%s: as text %s", text, h)
		}
		if !h.Matches([]byte(password)) {
			t.Errorf("%s does not match %q", text, password)
		}
		for _, wrong := range []string{"", password + "x", password + "\x00", password + "\x00" + password, password[1:], strings.ToUpper(password) + "x"} {
			if h.Matches([]byte(wrong)) {
				t.Errorf("%s matches %q", text, wrong)
			}
		}
	}
}

// Any password comes back, of whatever length and bytes (F156).
func TestNew(t *testing.T) {
	for _, password := range [][]byte{nil, []byte("secret"), []byte("\x00\xff\x00"), bytes.Repeat([]byte{'p'}, 65535)} {
		h := New(password)
		again, err := Parse(h.String())
		if err != nil || !again.Matches(password) || again.Matches(append(bytes.Clone(password), 0)) || !again.Slow() || again.Scheme() != Argon2id {
			t.Errorf("a password of %d bytes: %s %v", len(password), h, err)
		}
		if !strings.HasPrefix(h.String(), "$argon2id$v=19$m=19456,t=2,p=1$") || New(password).String() == h.String() {
			t.Errorf("%s", h)
		}
	}
	var none Hash
	if none.Matches(nil) || none.Matches([]byte("x")) || none.String() != "" || none.Slow() {
		t.Error("no hash matches something")
	}
}

func TestGenerate(t *testing.T) {
	secret, h := Generate()
	other, _ := Generate()
	if len(secret) != 26 || secret == other { // 26 letters of 5 bits
		t.Errorf("the secret is %q", secret)
	}
	again, err := Parse(h.String())
	if err != nil || !again.Matches([]byte(secret)) || again.Matches([]byte(other)) || again.Matches(nil) || again.Slow() || again.Scheme() != Generated {
		t.Errorf("%s %v", h, err)
	}
	if strings.Contains(h.String(), secret) {
		t.Error("the secret is in its hash")
	}
}

// What costs too much, is cut, or is no hash at all is refused, and not quoted.
func TestParseRefuses(t *testing.T) {
	salt, sum := "MDEyMzQ1Njc4OWFiY2RlZg", "QA3Q2Jz1vTWdB/rBdk6mMQ"
	f := func(text, want string) {
		t.Helper()
		h, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || h.Matches(nil) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s is quoted: %v", text, err)
		}
	}
	argon := func(cost string) string { return "$argon2id$v=19$" + cost + "$" + salt + "$" + sum }
	if _, err := Parse(argon("m=8,t=1,p=1")); err != nil {
		t.Fatal(err)
	}
	f("", "is no hash")
	f("canary", "is no hash")
	f("$", "is no hash")
	f("$canary$canary", "is no hash")
	f("$1$canary$canary", "is no hash")
	f("$argon2i$v=19$m=64,t=1,p=1$"+salt+"$"+sum, "is no hash")
	f("$argon2id$v=16$m=64,t=1,p=1$"+salt+"$"+sum, "another version")
	f("$argon2id$m=64,t=1,p=1$"+salt+"$"+sum, "is no hash")
	f(argon("m=262145,t=1,p=1"), "out of bounds")
	f(argon("m=4294967295,t=1,p=1"), "out of bounds")
	f(argon("m=99999999999,t=1,p=1"), "is no hash")
	f(argon("m=262144,t=17,p=1"), "out of bounds")
	f(argon("m=64,t=65,p=1"), "out of bounds")
	f(argon("m=64,t=0,p=1"), "out of bounds")
	f(argon("m=64,t=1,p=0"), "out of bounds")
	f(argon("m=1024,t=1,p=17"), "out of bounds")
	f(argon("m=8,t=1,p=4"), "out of bounds")
	f(argon("m=64,t=1"), "is no hash")
	f(argon("t=1,m=64,p=1"), "is no hash")
	f(argon("m=64,t=1,p=1,x=1"), "is no hash")
	f(argon("m=+64,t=1,p=1"), "is no hash")
	f("$argon2id$v=19$m=64,t=1,p=1$YWJj$"+sum, "too short or too long")
	f("$argon2id$v=19$m=64,t=1,p=1$"+salt+"$YWJj", "too short or too long")
	f("$argon2id$v=19$m=64,t=1,p=1$"+strings.Repeat("QUJD", 60)+"$"+sum, "too short or too long")
	f("$argon2id$v=19$m=64,t=1,p=1$"+salt+"$"+sum[:len(sum)-1]+"R", "is no hash") // bits that say nothing
	f("$argon2id$v=19$m=64,t=1,p=1$"+salt+"\n$"+sum, "is no hash")
	f(strings.Repeat("$", 2000), "is no hash")
	f("$2b$15$"+strings.Repeat("C", 53), "bcrypt's cost 15")
	f("$2b$31$"+strings.Repeat("C", 53), "bcrypt's cost 31")
	f("$2b$05$"+strings.Repeat("C", 52), "is no hash")
	f("$2x$05$"+strings.Repeat("C", 53), "is no hash")
	f("$7$2000001$"+salt+"==$"+sum, "iterations")
	f("$7$0$"+salt+"==$"+sum+"==", "iterations")
	f("$7$-1$"+salt+"==$"+sum+"==", "iterations")
	f("$6$"+salt+"==$"+sum+"==", "too short or too long")
	f("$6$rounds=5000$canary$canary", "is no hash") // crypt(3), not Mosquitto's
	f("$generated-sha256$"+salt+"$"+sum, "too short or too long")
}

func TestJSON(t *testing.T) {
	_, h := Generate()
	text, err := json.Marshal(map[string]Hash{"h": h})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]Hash
	if err := json.Unmarshal(text, &back); err != nil || back["h"].String() != h.String() {
		t.Errorf("%s %v", text, err)
	}
	if err := json.Unmarshal([]byte(`{"h":"canary"}`), &back); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
}

// FuzzParse holds that no text panics, and that what is read is written the same and is bounded.
func FuzzParse(f *testing.F) {
	for text := range known(f) {
		f.Add(text)
	}
	_, h := Generate()
	f.Add(h.String())
	f.Add("$argon2id$v=19$m=262144,t=16,p=16$MDEyMzQ1Njc4OWFiY2RlZg$QA3Q2Jz1vTWdB/rBdk6mMQ")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := Parse(text)
		if err != nil {
			if h.Scheme() != None {
				t.Error("a hash and an error")
			}
			return
		}
		if h.memory > maxMemoryKiB || uint64(h.memory)*uint64(h.iterations) > maxTraffic && h.scheme == Argon2id || h.iterations > maxIterations || len(h.salt) > maxSalt {
			t.Errorf("%s costs too much", text)
		}
		again, err := Parse(h.String())
		if err != nil || again.String() != h.String() {
			t.Errorf("%s becomes %s, %v", text, h, err)
		}
		if !h.Slow() || h.scheme == Argon2id && h.memory*h.iterations < 1000 {
			h.Matches([]byte("x"))
		}
	})
}

// As many as may run at once do, the others wait in two lines of bounded length; who can wait comes last.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(2, 3)
		var mu sync.Mutex
		var order []string
		running, most := 0, 0
		var all sync.WaitGroup
		start := func(name string, canWait bool, want error) {
			all.Go(func() {
				err := g.Do(context.Background(), canWait, func() {
					mu.Lock()
					order = append(order, name)
					running++
					most = max(most, running)
					mu.Unlock()
					time.Sleep(time.Second)
					mu.Lock()
					running--
					mu.Unlock()
				})
				if !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", name, err, want)
				}
			})
			synctest.Wait()
		}
		start("1", false, nil)
		start("2", true, nil) // at once, because it can
		for i := range 3 {
			start(fmt.Sprint("late", i), true, nil)
		}
		start("too late", true, ErrBusy)
		for i := range 3 {
			start(fmt.Sprint("first", i), false, nil)
		}
		start("too many", false, ErrBusy)
		if s := g.Stats(); s.Waiting != 6 || s.Hashes != 2 || s.Busy != 2 {
			t.Errorf("%+v", s)
		}
		all.Wait()
		// Two run at once, so that neighbours may be told in either order.
		if got := fmt.Sprint(order); !strings.HasPrefix(order[2], "first") || !strings.HasPrefix(order[3], "first") || strings.Contains(fmt.Sprint(order[6:]), "first") {
			t.Errorf("the order is %s", got)
		}
		if s := g.Stats(); most != 2 || s.Waiting != 0 || s.Hashes != 8 {
			t.Errorf("at most %d at once, %+v", most, s)
		}
		start("after", true, nil)
		all.Wait()
	})
}

// Who gives up leaves the line, and the turn goes on to the next.
func TestGateGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, 8)
		hold := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			if err := g.Do(context.Background(), false, func() { <-hold }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := g.Do(ctx, false, func() { t.Error("called") }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if err := g.Do(ctx, false, func() { t.Error("called") }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a context that has ended: %v", err)
		}
		if s := g.Stats(); s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		close(hold)
		all.Wait()
		called := false
		if err := g.Do(context.Background(), true, func() { called = true }); err != nil || !called {
			t.Errorf("%v %v", called, err)
		}
	})
}

// A function that panics does not take its place at the gate with it.
func TestGatePanic(t *testing.T) {
	g := NewGate(1, 1)
	func() {
		defer func() { _ = recover() }()
		_ = g.Do(t.Context(), false, func() { panic("x") })
	}()
	if err := g.Do(t.Context(), false, func() {}); err != nil {
		t.Error(err)
	}
}

func BenchmarkMatches(b *testing.B) {
	secret, h := Generate()
	f := func(name string, h Hash, password string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !h.Matches([]byte(password)) {
					b.Fatal("no match")
				}
			}
		})
	}
	f("argon2id", New([]byte("secret")), "secret")
	f("generated", h, secret)
	for text, password := range known(b) {
		if h, err := Parse(text); err == nil && (h.Scheme() == MosquittoV6 || h.Scheme() == MosquittoV7) && password == "secret" {
			f(h.Scheme().String(), h, password)
		}
	}
}
