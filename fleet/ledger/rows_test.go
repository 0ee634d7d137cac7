package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
)

// loops are the rows of a broker with some event loops.
type loops struct {
	names      *tally.Names
	topics     []*tally.Topics
	publishers []tally.Publishers
	sessions   map[string]broker.Session
}

func newLoops(n, limit int) *loops {
	l := &loops{names: tally.NewNames(limit), publishers: make([]tally.Publishers, n), sessions: map[string]broker.Session{}}
	for range n {
		l.topics = append(l.topics, tally.NewTopics(l.names, 0, 0))
	}
	return l
}

func (l *loops) Names() *tally.Names { return l.names }

func (l *loops) Topics(_ context.Context, each func(tally.Topic, *tally.Detail) error) error {
	for t := tally.Root + 1; t < tally.Topic(l.names.Len()); t++ {
		var d tally.Detail
		for i, loop := range l.topics {
			loop.Account(t, &l.publishers[i], &d)
		}
		if err := each(t, &d); err != nil {
			return err
		}
	}
	return nil
}

func (l *loops) Heavy(context.Context) (all [tally.Weights][]tally.Heavy, err error) {
	for by := range all {
		var lists [][]tally.Heavy
		for _, loop := range l.topics {
			lists = append(lists, loop.Heavy(tally.Weight(by)))
		}
		all[by], _ = tally.Heaviest(lists)
	}
	return all, nil
}

func (l *loops) Sessions(_ context.Context, each func(*broker.Session) error) error {
	for _, s := range l.sessions {
		if err := each(&s); err != nil {
			return err
		}
	}
	return nil
}

func (l *loops) AddTopics(_ context.Context, all []broker.Counted) error {
	for i := range all {
		l.topics[0].Carry(all[i].Topic, &l.publishers[0], &all[i].Detail)
	}
	return nil
}

func (l *loops) AddHeavy(_ context.Context, by tally.Weight, names []tally.Heavy) error {
	l.topics[0].CarryHeavy(by, names)
	return nil
}

func (l *loops) AddSessions(_ context.Context, all []broker.Session, clean bool) error {
	for _, s := range all {
		l.sessions[s.Client] = s
	}
	return nil
}

// count has something of each kind happen on some topics, and tells the books of it.
func (l *loops) count(chance *rand.Rand, n int, books *tally.Lines) {
	for at := range n {
		i := chance.IntN(len(l.topics))
		loop, p := l.topics[i], &l.publishers[i]
		name := fmt.Appendf(nil, "%d/%d", chance.IntN(5), chance.IntN(30))
		if chance.IntN(9) == 0 {
			name = append(name, "/below//"...)
		}
		m := tally.Message{
			Name: name, Payload: make([]byte, chance.IntN(5000)), QoS: uint8(chance.IntN(3)), Copies: uint64(chance.IntN(3)),
			Publisher: p.Number(fmt.Sprint("client", chance.IntN(40)), 0),
		}
		tag, topic := loop.Tag(name)
		loop.Published(tag, int64(1000+at), uint32(1+at/100), &m)
		books.Copies += m.Copies
		if m.Copies == 0 {
			books.Unheard++
		} else {
			books.Routed++
			loop.Sent(topic, m.Copies)
		}
		switch chance.IntN(6) {
		case 0:
			reason := uint8(1 + chance.IntN(3))
			loop.Dropped(topic, name, reason, 2)
			books.Dropped[reason] += 2
		case 1:
			loop.Ended(name, tally.RateLimited)
			books.Ended[tally.RateLimited]++
		case 2:
			loop.Anew(topic, 3)
			books.Copies += 3
		}
	}
}

// told are the accounts of all topics by name.
func (l *loops) told() map[string]tally.Detail {
	all := map[string]tally.Detail{}
	_ = l.Topics(context.Background(), func(t tally.Topic, d *tally.Detail) error {
		if *d != (tally.Detail{}) {
			all[l.names.Name(t)] = *d
		}
		return nil
	})
	return all
}

func carry(t *testing.T, dir string, f *fake, rows Rows, refused *[]string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), f, Options{Dir: dir, Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	texts, _ := l.Refused()
	*refused = append(*refused, texts...)
	return l
}

// TestRows: what was counted by topic and by client is there after a stop and a start, whatever the number of event loops, and adds up with what comes;
// so it is with names beyond the bound.
func TestRows(t *testing.T) {
	chance := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for _, limit := range []int{1000, 40} {
		dir, refused := t.TempDir(), []string(nil)
		was := newLoops(2, limit)
		was.sessions["c"] = broker.Session{Client: "c", Number: 7, Tally: tally.Client{
			In: [3]uint64{1, 2, 3}, Out: [3]uint64{4, 5, 6}, InBytes: 7, OutBytes: 8, Queued: 9, Found: -10, Start: 11, Meant: 12, Acknowledged: 13, Resent: 14,
			Requeued: 15, Rare: &tally.Rare{Dropped: [tally.Reasons]uint64{3: 16}, Ended: [tally.Ends]uint64{1: 17}, Unacknowledged: 18, Crashed: -19, Stopped: 20},
		}}
		was.sessions["idle"] = broker.Session{Client: "idle", Number: 8}
		f := new(fake)
		l := carry(t, dir, f, was, &refused)
		for range 3 {
			was.count(chance, 3000, &f.lines)
			if err := l.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			now := newLoops(1+chance.IntN(3), limit)
			f = new(fake)
			l = carry(t, dir, f, now, &refused)
			if want, got := was.told(), now.told(); !reflect.DeepEqual(got, want) || len(want) < 10 {
				t.Fatalf("of %d topics there are %d:\n%v\nwant\n%v", len(want), len(got), got, want)
			}
			if !reflect.DeepEqual(now.sessions, was.sessions) || len(refused) > 0 {
				t.Fatalf("sessions %+v, want %+v; %q", now.sessions, was.sessions, refused)
			}
			wasHeavy, _ := was.Heavy(t.Context())
			nowHeavy, _ := now.Heavy(t.Context())
			if !reflect.DeepEqual(nowHeavy, wasHeavy) || limit == 40 && len(nowHeavy[tally.ByBytes]) == 0 {
				t.Fatalf("heavy are %v, were %v", nowHeavy, wasHeavy)
			}
			was = now
		}
	}
}

// TestRowsLost: what the books have and the rows have not counts for a topic that is not known, so that the sums stay those of the books:
// of what was counted between the last saving of the rows and a crash, and of all when the file cannot be used. That one is put aside.
func TestRowsLost(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 1))
	sum := func(l *loops) (s sums) {
		for _, d := range l.told() {
			s.add(&d)
		}
		return s
	}
	for what, spoil := range map[string]func(b []byte) []byte{
		"":                  nil,
		"torn":              func(b []byte) []byte { return b[:len(b)-1-chance.IntN(len(b)-1)] },
		"empty":             func([]byte) []byte { return nil },
		"a byte changed":    func(b []byte) []byte { b[chance.IntN(len(b))] ^= 1 << chance.IntN(8); return b },
		"of another time":   func(b []byte) []byte { b[len(rowsMagic)]++; return seal(b[:len(b)-crcSize]) },
		"another version":   func(b []byte) []byte { b[len("sapwood rows ")] = '2'; return seal(b[:len(b)-crcSize]) },
		"something behind":  func(b []byte) []byte { return seal(append(b[:len(b)-crcSize], 0)) },
		"newer than books":  nil,
		"books are damaged": nil,
	} {
		dir, refused := t.TempDir(), []string(nil)
		was, f := newLoops(2, 1000), new(fake)
		l := carry(t, dir, f, was, &refused)
		was.count(chance, 500, &f.lines)
		if err := l.save(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		whole := was.told()
		was.count(chance, 500, &f.lines)
		if err := l.saveLines(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if what == "newer than books" {
			f.lines.Unheard = 1
			if err := l.saveLines(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		name := filepath.Join(dir, rowsName)
		if spoil != nil {
			b, err := os.ReadFile(name)
			if err == nil {
				err = os.WriteFile(name, spoil(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		lines := f.lines
		now := newLoops(3, 1000)
		if what == "books are damaged" {
			if err := os.WriteFile(filepath.Join(dir, fileName), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			lines = tally.Lines{}
		}
		carry(t, dir, new(fake), now, &refused)
		if missing, ok := sumOf(sum(now)).missing(&lines); !ok || missing != (tally.Detail{}) {
			t.Errorf("%q: the books have more than the rows: %+v", what, missing)
		}
		if what == "" {
			got := now.told()
			delete(got, tally.UnknownName)
			delete(whole, tally.UnknownName)
			if !reflect.DeepEqual(got, whole) || len(refused) != 0 {
				t.Errorf("after a crash there is %v, want %v; %q", got, whole, refused)
			}
			continue
		}
		if what == "books are damaged" && len(refused) > 0 {
			refused = refused[1:] // see TestDamaged
		}
		if _, err := os.Stat(name + ".damaged"); err != nil || len(refused) != 1 || !strings.Contains(refused[0], "begin anew") {
			t.Errorf("%s: %v, told %q", what, err, refused)
		}
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the file is still there: %v", what, err)
		}
	}
}

func sumOf(s sums) *sums { return &s }

// seal gives bytes their checksum.
func seal(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// full is a disk with room for so many bytes.
type full struct{ room int }

var errFull = errors.New("no space left")

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func (f *full) Sync() error {
	if f.room == 0 {
		return errFull
	}
	return nil
}

// TestRowsFull: a disk that is full is an error wherever in the file it is met, and the file of before stays; nothing is left beside it.
func TestRowsFull(t *testing.T) {
	rows, books := newLoops(1, 1<<15), new(fake)
	for i := range 20000 {
		tag, _ := rows.topics[0].Tag(fmt.Appendf(nil, "a/%d", i))
		rows.topics[0].Published(tag, 1, 1, &tally.Message{})
	}
	books.lines.Unheard = 20000
	whole := rowsWriter{f: &full{room: 1 << 30}}
	if err := errors.Join(whole.all(t.Context(), rows), whole.end()); err != nil {
		t.Fatal(err)
	}
	for _, room := range []int64{0, 1, writtenAtOnce + 1, whole.size - 1, whole.size} {
		w := rowsWriter{f: &full{room: int(room)}}
		if err := errors.Join(w.all(t.Context(), rows), w.end()); !errors.Is(err, errFull) {
			t.Errorf("with room for %d of %d bytes: %v", room, whole.size, err)
		}
	}
	dir, refused := t.TempDir(), []string(nil)
	l := carry(t, dir, books, rows, &refused)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	was, _ := os.ReadFile(filepath.Join(dir, rowsName))
	books.lines.Own++ // something has changed
	ended, end := context.WithCancel(t.Context())
	end()
	l.o.Rows = broken{rows}
	if err := l.save(ended, true); !errors.Is(err, errFull) {
		t.Errorf("saved with %v", err)
	}
	now, _ := os.ReadFile(filepath.Join(dir, rowsName))
	files, err := os.ReadDir(dir)
	if err != nil || !bytes.Equal(was, now) || len(was) == 0 || len(files) != 2 {
		t.Errorf("%d and %d bytes, %v, %v", len(was), len(now), files, err)
	}
}

// broken are rows that cannot be read.
type broken struct{ *loops }

func (broken) Sessions(context.Context, func(*broker.Session) error) error { return errFull }

// TestRowsSeldom: rows are not saved sooner than their cost allows, nor when nothing was counted, but always at the end.
func TestRowsSeldom(t *testing.T) {
	dir, refused := t.TempDir(), []string(nil)
	rows, f := newLoops(1, 1000), new(fake)
	l := carry(t, dir, f, rows, &refused)
	saved := func() int64 {
		b, err := os.ReadFile(filepath.Join(dir, rowsName))
		if err != nil {
			t.Fatal(err)
		}
		return int64(len(b))
	}
	step := func(clean bool) int64 {
		t.Helper()
		rows.count(rand.New(rand.NewPCG(1, uint64(f.lines.Routed))), 10, &f.lines)
		if err := l.save(t.Context(), clean); err != nil {
			t.Fatal(err)
		}
		return saved()
	}
	first := step(false)
	l.saving.pause = time.Hour
	if n := step(false); n != first {
		t.Errorf("%d bytes, then %d before the time", first, n)
	}
	last := step(true)
	if last == first {
		t.Error("not saved at the end")
	}
	was := l.saving.at
	if l.saving.pause = 0; l.save(t.Context(), false) != nil || l.saving.at != was {
		t.Error("saved though nothing has changed")
	}
}

// FuzzRows: whatever stands in a file whose checksum is right, it is taken or refused, in bounds.
func FuzzRows(f *testing.F) {
	rows := newLoops(2, 40)
	rows.sessions["c"] = broker.Session{Client: "c", Number: 7, Tally: tally.Client{Queued: 3, Rare: &tally.Rare{Crashed: -1}}}
	rows.count(rand.New(rand.NewPCG(1, 1)), 200, new(tally.Lines))
	var b bytes.Buffer
	w := rowsWriter{f: sink{&b}, b: appendHead(nil, 1, 2)}
	if err := errors.Join(w.all(f.Context(), rows), w.end()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes()[headSize : b.Len()-crcSize])
	f.Add([]byte{endRecord})
	f.Add([]byte{topicRecord, 1, 3, 'a', 0, endRecord})
	f.Fuzz(func(t *testing.T, body []byte) {
		file := seal(append(appendHead(nil, 1, 2), body...))
		sum, since, err := checkRows(t.Context(), bytes.NewReader(file))
		if err != nil {
			return
		}
		now := newLoops(1, 64)
		lines := tally.Lines{Routed: sum.messages, Dropped: sum.dropped, Ended: sum.ended}
		l := &Ledger{o: Options{Rows: now}}
		l.carried.Since, l.carried.Lines = time.Unix(0, since), lines
		if _, err := l.readRows(t.Context(), bytes.NewReader(file), true); err != nil && !strings.Contains(err.Error(), "newer") {
			t.Errorf("whole, but %v", err)
		}
		if now.names.Len() > 64+64/16+2 {
			t.Errorf("%d names", now.names.Len())
		}
	})
}

type sink struct{ *bytes.Buffer }

func (sink) Sync() error { return nil }
