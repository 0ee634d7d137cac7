package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
)

// body is a record of n bytes.
func body(i, n int) string { return fmt.Sprintf("%d ", i) + strings.Repeat("z", n) }

// TestStaleBytes recycles segments many times over and crashes in them: nothing of their past lives comes back, not even
// where damage makes the scan look at every byte.
func TestStaleBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		l := begin(t, sys)
		for i := range 400 {
			before := l.End()
			add(t, l, true, body(i, 300))
			if now := l.End(); now.Segment != before.Segment && before.Segment > 0 {
				if err := l.Drop(before.Segment); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		if n := len(sys.names()); n > ready+1+maxSpares {
			t.Fatalf("nothing was recycled: %v", sys.names())
		}
		from := l.End()
		var want []string
		var at []Pos
		for i := range 8 {
			at = append(at, add(t, l, true, body(1000+i, 100))...)
			want = append(want, body(1000+i, 100))
		}
		synctest.Wait()
		dead := sys.clone()
		end(t, l)
		_, got, found := reopen(t, dead.clone(), from)
		same(t, got, want...)
		clean(t, found)

		clear(dead.bytes(t, at[2].Segment)[at[2].Offset-groupSize : at[4].Offset]) // headers too
		_, got, found = reopen(t, dead, from)
		same(t, got, slices.Delete(slices.Clone(want), 2, 4)...)
		if len(found.Damage) != 1 {
			t.Fatal(found.Damage)
		}
	})
}

// TestFullDisk lets one operation after the other find no space, for a while. Growing groups are refused with ErrFull
// before the reserve is used up, groups that give back space are still taken, and it heals by itself [F212].
func TestFullDisk(t *testing.T) {
	for _, op := range []string{"makedir", "create", "allocate", "write", "sync", "rename", "syncdir"} {
		synctest.Test(t, func(t *testing.T) {
			sys := newMemory()
			l := begin(t, sys)
			var want []string
			put := func(i int, grows bool) error {
				g, _ := makeGroup(body(i, 2000))
				_, err := l.Append(&g, grows, true)
				if err == nil {
					want = append(want, body(i, 2000))
				}
				return err
			}
			synctest.Wait()
			sys.fail = func(o, name string) error {
				if o == op && (strings.Contains(name, "spare") || !strings.HasSuffix(name, ".seg") || op == "rename") {
					return syscall.ENOSPC
				}
				return nil
			}
			i := 0
			var err error
			for ; err == nil && i < 100; i++ {
				err = put(i, true)
			}
			if !errors.Is(err, store.ErrFull) || !errors.Is(err, syscall.ENOSPC) || !errors.Is(l.Health(), store.ErrFull) {
				t.Fatalf("%s: append %v, health %v", op, err, l.Health())
			}
			for n := range 5 { // the reserve has room for as many
				if err := put(1000+n, false); err != nil {
					t.Fatalf("%s: a group of the reserve: %v", op, err)
				}
				if err := put(0, true); !errors.Is(err, store.ErrFull) {
					t.Fatalf("%s: a growing group, though only the reserve is left: %v", op, err)
				}
			}
			for err = nil; err == nil && i < 100; i++ {
				err = put(i, false)
			}
			if !errors.Is(err, store.ErrFull) {
				t.Fatalf("%s: %v", op, err)
			}
			sys.mu.Lock()
			sys.fail = nil
			sys.mu.Unlock()
			time.Sleep(retryMax)
			synctest.Wait()
			if err := l.Health(); err != nil {
				t.Fatalf("%s: space is back: %v", op, err)
			}
			if err := put(2000, true); err != nil {
				t.Fatal(err)
			}
			end(t, l)
			_, got, found := reopen(t, sys, Pos{})
			same(t, got, want...)
			clean(t, found)
		})
	}
}

// TestStartWithoutSpace starts on a full disk: with segments that stand ready it goes on for what gives back space, with
// none it waits, and it never touches what is there [F213].
func TestStartWithoutSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		l := begin(t, sys)
		add(t, l, true, "kept")
		end(t, l)
		sys.free = 0
		l = begin(t, sys) // out of the segments that stood ready
		g, _ := makeGroup("settled")
		synctest.Wait()
		if _, err := l.Append(&g, false, true); err != nil {
			t.Fatal(err)
		}
		end(t, l)

		sys = newMemory()
		sys.free = 0
		l = begin(t, sys)
		if !errors.Is(l.Health(), store.ErrFull) {
			t.Fatal(l.Health())
		}
		g, _ = makeGroup("new")
		if _, err := l.Append(&g, false, true); !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
		sys.mu.Lock()
		sys.free = -1
		sys.mu.Unlock()
		time.Sleep(retryMax)
		synctest.Wait()
		if l.Health() != nil {
			t.Fatal(l.Health())
		}
		add(t, l, true, "new")
		end(t, l)
		_, got, _ := reopen(t, sys, Pos{})
		same(t, got, "new")
	})
}

// TestMaxBytes keeps all files together to the limit.
func TestMaxBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		o := options()
		o.MaxBytes = 5 * testSegment
		l, err := Open(sys, "log", o)
		if err == nil {
			err = l.Start()
		}
		var first Pos
		for i := 0; err == nil && i < 100; i++ {
			g, _ := makeGroup(body(i, 3000))
			_, err = l.Append(&g, true, true)
			if i == 0 {
				first = l.End()
			}
		}
		if !errors.Is(err, store.ErrFull) || len(sys.names()) > 5 {
			t.Fatal(err, sys.names())
		}
		if err := l.Drop(first.Segment); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if l.Health() != nil {
			t.Fatal(l.Health())
		}
		end(t, l)
	})
}

// TestFailedWrite lets a write or a sync of a group fail: the group does not count, nothing is written behind it, and
// once a later group is durable it is never seen again.
func TestFailedWrite(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		for _, again := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				sys := newMemory()
				l := begin(t, sys)
				add(t, l, true, "one")
				synctest.Wait()
				bad := map[string]bool{}
				fails := 1
				sys.fail = func(o, name string) error {
					if bad[name] && (o == "write" || o == "sync") {
						t.Errorf("%s after a failure on %s", o, name)
					}
					if o == op && fails > 0 && strings.HasSuffix(name, ".seg") {
						fails--
						bad[name] = op == "sync" // a failed write leaves earlier groups to be synced
						return syscall.EIO
					}
					return nil
				}
				tries := 1
				if again {
					fails, tries = 2, 2
				}
				for range tries {
					g, _ := makeGroup("failed")
					if _, err := l.Append(&g, true, true); !errors.Is(err, syscall.EIO) {
						t.Fatal(err)
					}
				}
				add(t, l, true, "two")
				add(t, l, true, "three")
				synctest.Wait()
				segments := l.Segments()
				if len(segments) != 2 {
					t.Fatalf("the segment that nothing came to count in was not dropped: %v", segments)
				}
				for _, s := range segments {
					var got []string
					damage, err := l.Scan(s.Number, func(r Record) error { got = append(got, string(r.Body)); return nil })
					if err != nil || damage != nil || slices.Contains(got, "failed") {
						t.Fatal(got, damage, err)
					}
				}
				dead := sys.clone()
				end(t, l)
				_, got, found := reopen(t, dead, Pos{})
				same(t, got, "one", "two", "three")
				clean(t, found)
			})
		}
	}
}

// TestSyncInDoubt lets the sync of groups fail that were taken without: they count, and Sync names them.
func TestSyncInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		l := begin(t, sys)
		add(t, l, false, "one")
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		add(t, l, false, "two")
		add(t, l, false, "three")
		synctest.Wait()
		sys.fail = func(op, name string) error {
			if op == "sync" && strings.HasSuffix(name, ".seg") {
				return syscall.EIO
			}
			return nil
		}
		if err := l.Sync(); err == nil || !strings.Contains(err.Error(), "groups 2 to 3") {
			t.Fatal(err)
		}
		sys.fail = nil
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if p := add(t, l, false, "four")[0]; p.Segment == 1 {
			t.Fatal("the poisoned segment is written to")
		}
		end(t, l)
		_, got, found := reopen(t, sys, Pos{})
		same(t, got, "one", "two", "three", "four")
		clean(t, found)
	})
}

// long is a closed log over several segments; marks says what is in which.
func long(t *testing.T) (sys *memory, want []string, marks map[uint32][]string) {
	sys = newMemory()
	l := begin(t, sys)
	marks = map[uint32][]string{}
	for i := range 40 {
		p := add(t, l, true, body(i, 1500))[0]
		want = append(want, body(i, 1500))
		marks[p.Segment] = append(marks[p.Segment], body(i, 1500))
	}
	synctest.Wait()
	dead := sys.clone()
	end(t, l)
	return dead, want, marks
}

// TestSegmentLost removes, empties, renames and replaces whole files: what is in the others stays, and it is said [F220].
func TestSegmentLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole, want, marks := long(t)
		name := func(n uint32) string { return filepath.Join("log", segmentName(n)) }
		for n := range marks {
			for how, lose := range map[string]func(sys *memory){
				"removed":   func(sys *memory) { delete(sys.files, name(n)) },
				"emptied":   func(sys *memory) { sys.files[name(n)].data = nil },
				"renamed":   func(sys *memory) { sys.files[name(99)] = sys.files[name(n)]; delete(sys.files, name(n)) },
				"foreign":   func(sys *memory) { foreign(sys.bytes(t, n)) },
				"zeroed":    func(sys *memory) { clear(sys.bytes(t, n)) },
				"headless":  func(sys *memory) { clear(sys.bytes(t, n)[:headerSize]) },
				"truncated": func(sys *memory) { f := sys.files[name(n)]; f.data = f.data[:headerSize+2000] },
			} {
				sys := whole.clone()
				lose(sys)
				l, got, found := reopen(t, sys, Pos{})
				var rest []string
				for _, b := range want {
					i := slices.Index(marks[n], b)
					if i < 0 || how == "headless" || how == "truncated" && i == 0 {
						rest = append(rest, b)
					}
				}
				if !slices.Equal(got, rest) {
					t.Fatalf("%d %s: %d records of %d: %v", n, how, len(got), len(rest), found.Damage)
				}
				if !slices.ContainsFunc(found.Damage, func(d Damage) bool { return d.File == name(n) }) {
					t.Fatalf("%d %s: %v", n, how, found.Damage)
				}
				if err := l.Start(); err != nil {
					t.Fatal(err)
				}
				add(t, l, true, "more")
				end(t, l)
				_, got, _ = reopen(t, sys, Pos{})
				same(t, got, append(rest, "more")...)
			}
		}
	})
}

// foreign makes a segment that of another store.
func foreign(b []byte) {
	h, _ := parseHeader(b)
	h.store[0] ^= 0xFF
	h.put(b)
}

// TestOlderCopy puts back a segment as it once was [F220].
func TestOlderCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		l := begin(t, sys)
		var want []string
		var old *memory
		for i := range 20 {
			add(t, l, true, body(i, 1500))
			want = append(want, body(i, 1500))
			if i == 3 {
				old = sys.clone()
			}
		}
		end(t, l)
		copy(sys.bytes(t, 1), old.bytes(t, 1))
		_, got, found := reopen(t, sys, Pos{})
		in1 := int(l.segments[1].used()-headerSize) / (1500 + groupSize)
		same(t, got, slices.Delete(want, 4, in1)...)
		if len(found.Damage) != 1 || found.Damage[0].Bytes < 1500 {
			t.Fatal(found.Damage)
		}
		// A copy of another segment under this name is not read at all.
		copy(sys.bytes(t, 1), sys.bytes(t, 2))
		if _, _, found = reopen(t, sys, Pos{}); len(found.Damage) != 1 || !strings.Contains(found.Damage[0].What, "another name") {
			t.Fatal(found.Damage)
		}
	})
}

// TestNewerFormat leaves alone what a later version wrote [F221].
func TestNewerFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, _, _ := long(t)
		b := sys.bytes(t, 2)
		var h header
		h.number, h.store = 2, options().Store
		h.put(b)
		order.PutUint32(b[8:], Version+1)
		order.PutUint32(b[60:], checksum(b[:60]))
		before := sys.clone()
		_, err := Open(sys, "log", options())
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "format 2") {
			t.Fatal(err)
		}
		for name, f := range before.files {
			if !slices.Equal(f.data, sys.files[name].data) {
				t.Fatalf("%s changed", name)
			}
		}
	})
}

// TestReadersDuringDrop keeps a dropped segment until those who may read it are gone, and not for later ones.
func TestReadersDuringDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		l := begin(t, sys)
		var at []Pos
		for i := range 40 {
			at = append(at, add(t, l, true, body(i, 1500))...)
		}
		r1, r2 := l.NewReader(), l.NewReader()
		if err := l.Drop(at[0].Segment); err != nil {
			t.Fatal(err)
		}
		late := l.NewReader()
		defer late.Close()
		r1.Close()
		r1.Close()
		synctest.Wait()
		if got, err := r2.Read(at[0], 0); err != nil || string(got) != body(0, 1500) {
			t.Fatal(err)
		}
		r2.Close()
		synctest.Wait()
		if _, err := late.Read(at[0], 0); !isDamage(err) {
			t.Fatalf("the segment is still there: %v", err)
		}
		if err := l.Drop(l.End().Segment); err == nil {
			t.Fatal("the segment that is written to was dropped")
		}
		if err := l.Drop(77); err == nil {
			t.Fatal("a segment that does not exist was dropped")
		}
		end(t, l)
	})
}

// TestReadDamage names the place of a record that is not what was written [F218].
func TestReadDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		l := begin(t, sys)
		at := add(t, l, true, "one", "two", "three")
		sys.bytes(t, at[1].Segment)[at[1].Offset+frameSize] ^= 1
		r := l.NewReader()
		_, err := r.Read(at[1], 100)
		var d *DamageError
		if !errors.As(err, &d) || d.Offset != int64(at[1].Offset) || !strings.Contains(err.Error(), segmentName(at[1].Segment)) {
			t.Fatal(err)
		}
		for _, i := range []int{0, 2} {
			if _, err := r.Read(at[i], 100); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range []Pos{{}, {1, 17}, {9, headerSize}, {1, 1 << 30}} {
			if _, err := r.Read(p, 0); err == nil {
				t.Fatalf("something was read at %v", p)
			}
		}
		r.Close()
		if _, err := r.Read(at[0], 0); !errors.Is(err, store.ErrClosed) {
			t.Fatal(err)
		}
		end(t, l)
	})
}

// TestCold writes survivors: never replayed, read by position and by Scan, damage as anywhere.
func TestCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		l := begin(t, sys)
		add(t, l, true, "hot")
		c, err := l.NewCold()
		if err != nil {
			t.Fatal(err)
		}
		var at []Pos
		var want []string
		for i := range 300 {
			want = append(want, body(i, 3000))
			p, err := c.Append([]byte(want[i]))
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, p)
		}
		if err := c.Sync(); err != nil {
			t.Fatal(err)
		}
		crashed := sys.clone()
		length := c.Len()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(sys.bytes(t, at[0].Segment)); int64(n) != length {
			t.Fatalf("%d bytes for %d", n, length)
		}
		end(t, l)
		for _, sys := range []*memory{crashed, sys} {
			l, got, found := reopen(t, sys, Pos{})
			same(t, got, "hot")
			clean(t, found)
			r := l.NewReader()
			for i, p := range at {
				if b, err := r.Read(p, 100<<10); err != nil || string(b) != want[i] {
					t.Fatal(p, err)
				}
			}
			r.Close()
			sys.bytes(t, at[0].Segment)[at[7].Offset+100] ^= 4
			got = nil
			damage, err := l.Scan(at[0].Segment, func(r Record) error { got = append(got, string(r.Body)); return nil })
			if err != nil || len(damage) != 1 || damage[0].Offset != int64(at[7].Offset) {
				t.Fatal(damage, err)
			}
			same(t, got, slices.Delete(slices.Clone(want), 7, 8)...)
		}
	})
}

// TestColdFull fails for good when there is no space, and the segment can be dropped.
func TestColdFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newMemory()
		l := begin(t, sys)
		synctest.Wait()
		c, err := l.NewCold()
		if err != nil {
			t.Fatal(err)
		}
		sys.free = 0
		if _, err := c.Append([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := c.Sync(); !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
		if _, err := c.Append([]byte("x")); !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
		if err := c.Close(); !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
		if err := l.Drop(c.Number()); err != nil {
			t.Fatal(err)
		}
		end(t, l)
		if _, ok := sys.files[filepath.Join("log", segmentName(c.Number()))]; ok {
			t.Fatal("it is still there")
		}
	})
}

// TestQuarantineFails reports damage though no copy can be made.
func TestQuarantineFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, _, _ := long(t)
		sys.bytes(t, 1)[headerSize+1000] ^= 1
		sys.fail = func(_, name string) error {
			if strings.HasPrefix(name, "quarantine/") {
				return syscall.ENOSPC
			}
			return nil
		}
		_, got, found := reopen(t, sys, Pos{})
		if len(got) != 39 || len(found.Damage) != 1 || found.Damage[0].Aside != "" {
			t.Fatal(len(got), found.Damage)
		}
	})
}

// TestClosed refuses what comes too late.
func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, newMemory())
		if _, err := l.Replay(Pos{}, nil); err == nil {
			t.Fatal("replayed after the start")
		}
		if err := l.Start(); err == nil {
			t.Fatal("started twice")
		}
		end(t, l)
		end(t, l)
		g, _ := makeGroup("x")
		_, err := l.Append(&g, true, true)
		_, cold := l.NewCold()
		for _, err := range []error{err, cold, l.Sync(), l.Drop(1)} {
			if !errors.Is(err, store.ErrClosed) {
				t.Fatal(err)
			}
		}
	})
}

// TestEmptyRecords are refused: a frame of no length is what zeros are.
func TestEmptyRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, newMemory())
		var empty Group
		none, _ := makeGroup("")
		for _, g := range []*Group{&empty, &none} {
			if _, err := l.Append(g, true, true); err == nil {
				t.Fatal("taken")
			}
		}
		end(t, l)
	})
}

func TestAppendDoesNotAllocate(t *testing.T) {
	sys := newMemory()
	o := options()
	o.SegmentSize = 1 << 20
	l, err := Open(sys, "log", o)
	if err == nil {
		err = l.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var g Group
	data := []byte(strings.Repeat("x", 100))
	if n := testing.AllocsPerRun(100, func() {
		g.Reset()
		for range 10 {
			g.Begin()
			g.Buf = append(g.Buf, data...)
			g.End(true)
		}
		if _, err := l.Append(&g, true, true); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a group", n)
	}
	end(t, l)
}
