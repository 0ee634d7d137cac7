package sqlite

import (
	"fmt"
	"testing"
	"time"
)

func TestAccess(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		d := openDB(t, dir)
		a, ctx := d.Access(), t.Context()
		put := func(kind, name string, body []byte) {
			t.Helper()
			if err := a.PutRecord(ctx, kind, name, body); err != nil {
				t.Fatal(err)
			}
		}
		put("key", "a", []byte("1"))
		put("key", "b", []byte("2"))
		put("key", "a", []byte("3"))
		put("operator", "a", []byte("4"))
		put("key", "b", nil)
		put("key", "none", nil)
		if found, err := a.Records(ctx, "key"); err != nil || fmt.Sprint(found) != "map[a:[51]]" {
			t.Errorf("%v %v", found, err)
		}
		at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		const n = auditPage + 10
		for i := range n {
			if id, err := a.AppendAudit(ctx, at.Add(time.Duration(i)*time.Second), []byte(fmt.Sprint(i))); err != nil || id != int64(i+1) {
				t.Fatal(id, err)
			}
		}
		read := func(before int64, most int) (ids []int64) {
			t.Helper()
			if err := a.Audit(ctx, before, func(id int64, body []byte) bool {
				if string(body) != fmt.Sprint(id-1) {
					t.Errorf("%d is %s", id, body)
				}
				ids = append(ids, id)
				return len(ids) < most
			}); err != nil {
				t.Fatal(err)
			}
			return ids
		}
		if all := read(0, 1<<20); len(all) != n || all[0] != n || all[n-1] != 1 {
			t.Errorf("%d entries", len(all))
		}
		if some := read(5, 2); fmt.Sprint(some) != "[4 3]" {
			t.Error(some)
		}
		if err := a.TrimAudit(ctx, 20, at.Add((n-10)*time.Second)); err != nil {
			t.Fatal(err)
		}
		if left := read(0, 1<<20); len(left) != 10 {
			t.Errorf("%d by age", len(left))
		}
		if err := a.TrimAudit(ctx, 3, time.Time{}); err != nil {
			t.Fatal(err)
		}
		if left := read(0, 1<<20); len(left) != 3 {
			t.Errorf("%d by count", len(left))
		}
		if err := a.TrimAudit(ctx, 0, time.Now()); err != nil {
			t.Fatal(err)
		}
		if id, err := a.AppendAudit(ctx, at, []byte(fmt.Sprint(n))); err != nil || id != n+1 {
			t.Errorf("an id is given twice: %d %v", id, err)
		}
	}
}
