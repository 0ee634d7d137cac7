package post

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCheckURL(t *testing.T) {
	f := func(text string, plaintext bool, want string) {
		t.Helper()
		got := ""
		if err := CheckURL(text, plaintext, "a token"); err != nil {
			got = err.Error()
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	f("https://example.com/x", false, "")
	f("http://127.0.0.1:9/x", false, "")
	f("http://[::1]/x", false, "")
	f("http://localhost/x", false, "")
	f("http://example.com", false, "plaintext")
	f("http://example.com", true, "")
	f("https://a:b@example.com", false, "use a token")
	f("ftp://example.com", false, "https")
	f("https://", false, "URL")
	f("https://example.com/#x", false, "URL")
}

// A server that fails is asked with growing waits, at least as long as it asks for, then left alone for growing pauses, each of which one try ends.
func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("it fails")
		var changes []error
		s := Sender{Tries: 3, Pause: 10 * time.Second, MaxPause: 15 * time.Second, Changed: func(err error) { changes = append(changes, err) }}
		calls, answer, again := 0, bad, time.Duration(0)
		send := func(context.Context) (time.Duration, error) {
			calls++
			return again, answer
		}
		f := func(want error, tries int, least, most time.Duration) {
			t.Helper()
			began := time.Now()
			calls = 0
			if err := s.Send(t.Context(), send); !errors.Is(err, want) || calls != tries {
				t.Errorf("%v after %d tries, want %v after %d", err, calls, want, tries)
			}
			if took := time.Since(began); took < least || took > most {
				t.Errorf("it took %v", took)
			}
		}
		f(bad, 3, 1500*time.Millisecond, 3*time.Second)
		f(ErrPaused, 0, 0, 0)
		time.Sleep(10 * time.Second)
		f(bad, 1, 0, 0) // after a pause one try tells
		time.Sleep(14 * time.Second)
		f(ErrPaused, 0, 0, 0)
		time.Sleep(time.Second)
		answer = nil
		f(nil, 1, 0, 0)
		answer, again = bad, 5*time.Second
		f(bad, 3, 10*time.Second, 10*time.Second)
		s.open = time.Time{}
		again = Never
		f(bad, 1, 0, 0)
		if !slices.Equal(changes, []error{bad, nil, bad}) {
			t.Errorf("told of %v", changes)
		}
	})
}

// No answer costs more than its head, no redirection is followed, and an error does not tell the URL.
func TestDo(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "99999999")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusFound)
		_, _ = w.Write(make([]byte, 2*maxAnswer))
	}))
	c, _ := Client(10*time.Second, 1)
	ask := func() (*Answer, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/secret", nil)
		if err != nil {
			t.Fatal(err)
		}
		return Do(c, r)
	}
	a, err := ask()
	if err != nil || a.Code != http.StatusFound || len(a.Body) != maxAnswer || a.Again != time.Hour || a.Cut != nil {
		t.Errorf("%+v, %v", a, err)
	}
	s.Close()
	if _, err := ask(); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
