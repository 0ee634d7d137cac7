package acl_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
)

const aclFile = `# Comments begin a line.
topic read anon/#
  topic   write   anon/two words

user joe smith
topic deny secret/x
topic readwrite secret/#
topic joe/#
topic readwrite
topic read braces/{client}

user ann
topic read ann/#   
pattern deny joe/private
pattern readwrite c/%c/u/%u
pattern write $SYS/broker/connection/%c/state
pattern read $own/%c/x
user joe smith
topic read again
`

// TestMosquitto: each kind of line once. TestAgainstMosquitto compares with the real one.
func TestMosquitto(t *testing.T) {
	rules, err := acl.ParseMosquitto("acl", []byte(aclFile))
	if err != nil {
		t.Fatal(err)
	}
	e := engine(t, rules...)
	anon, joe, ann := someone("a", ""), someone("j", "joe smith"), someone("n", "ann")
	ask(t, e, anon, "receive anon/x", true)
	ask(t, e, anon, "publish anon/x", false)
	ask(t, e, anon, "retain anon/two words", true)
	ask(t, e, joe, "receive anon/x", false) // those lines are of anonymous clients alone
	ask(t, e, joe, "publish secret/x", false)
	ask(t, e, joe, "receive secret/x", false)
	ask(t, e, joe, "publish secret/y", true)
	ask(t, e, joe, "receive joe", true)
	ask(t, e, joe, "publish joe/private", true) // what the user's own lines say decides before patterns
	ask(t, e, ann, "publish joe/private", false)
	ask(t, e, joe, "publish readwrite", true) // a topic of that name
	ask(t, e, joe, "receive braces/{client}", true)
	ask(t, e, joe, "receive braces/j", false)
	ask(t, e, joe, "receive again", true)
	ask(t, e, ann, "receive ann/x", true)
	ask(t, e, ann, "publish ann/x", false)
	ask(t, e, ann, "publish c/n/u/ann", true)
	ask(t, e, ann, "publish c/j/u/ann", false)
	ask(t, e, anon, "publish c/a/u/", false) // a pattern with %u is not for anonymous clients
	ask(t, e, ann, "receive $SYS/x", false)
	for _, who := range []string{"a", "j", "n"} {
		for _, text := range []string{"subscribe #", "subscribe secret/x", "subscribe $SYS/#", "subscribe $own/#"} {
			ask(t, e, someone(who, "joe smith"), text, true)
		}
	}
	// Stricter than Mosquitto.
	ask(t, e, someone("x/y", "ann"), "publish c/x/y/u/ann", false)
	ask(t, e, ann, "subscribe $other/#", false)
	if d := e.Explain(joe, question(t, "publish secret/x")); d.Rule != "acl:6" {
		t.Errorf("%+v", d)
	}
}

func TestMosquittoErrors(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		_, err := acl.ParseMosquitto("f", []byte("topic ok\n"+line+"\ntopic ok"))
		if err == nil || !strings.HasPrefix(err.Error(), "f:2: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
	f("topic a b", `the access "a"`)
	f("topic", "the topic is missing")
	f("user", "has no name")
	f("user a*", "cannot be told from a pattern")
	f("foo bar", `"foo" begins no line`)
	f("topic\tread x", "begins no line")
	f("topic read a/#b", "does not fill its level")
	f("topic write a/b#", "does not fill its level")
	f(strings.Repeat("x", 2<<20), "too long")
}

// TestFile: a bad file is refused at the start, and changes nothing later (F173).
func TestFile(t *testing.T) {
	e := acl.New()
	path := filepath.Join(t.TempDir(), "acl")
	if _, err := acl.OpenFile(e, path); err == nil {
		t.Error("a file that is not there")
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("topic read a\nnonsense\n")
	if _, err := acl.OpenFile(e, path); err == nil || len(e.Rules()) != 0 {
		t.Error("a file that cannot be understood", err)
	}
	write("topic read a\n")
	f, err := acl.OpenFile(e, path)
	if err != nil || !slices.Equal(f.Files(), []string{path}) {
		t.Fatal(err)
	}
	who := someone("c", "")
	ask(t, e, who, "receive a", true)
	write("topic read b\nnonsense\n")
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), "acl:2: ") {
		t.Error(err)
	}
	ask(t, e, who, "receive a", true)
	ask(t, e, who, "receive b", false)
	write("topic read b\n")
	if err := f.Reload(); err != nil {
		t.Error(err)
	}
	ask(t, e, who, "receive a", false)
	ask(t, e, who, "receive b", true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err == nil {
		t.Error("the file is gone")
	}
	ask(t, e, who, "receive b", true)
}

// FuzzMosquitto: whatever the file holds, it is refused or makes rules that an engine takes; nothing in it reaches another user.
func FuzzMosquitto(f *testing.F) {
	f.Add([]byte(aclFile), "joe smith", "secret/x")
	f.Add([]byte("pattern read %c%u/{client}"), "{user}", "a/{")
	f.Add([]byte("topic read {{client}}"), "u", "{{client}}")
	f.Fuzz(func(t *testing.T, text []byte, user, topic string) {
		rules, err := acl.ParseMosquitto("f", text)
		if err != nil {
			return
		}
		e := acl.New()
		if err := e.Set("f", rules); err != nil {
			t.Fatalf("%q makes rules that cannot be used: %v", text, err)
		}
		q, err := acl.ParseQuestion("publish " + topic)
		if err != nil {
			return
		}
		d := e.Explain(someone("c", user), q)
		if d.Allowed != e.Authorize(someone("c", user), q) || d.Allowed && !strings.HasPrefix(d.Rule, "f:") {
			t.Fatalf("%q: %+v", text, d)
		}
	})
}
