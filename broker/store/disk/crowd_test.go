package disk

import (
	"testing"
	"time"
)

// TestCrowd: a crowd that comes back while a sync would last is waited for, others are not.
func TestCrowd(t *testing.T) {
	var c crowd
	if _, patience := c.awaited(); patience != 0 {
		t.Fatalf("nobody is known, and it waits %v", patience)
	}
	c.wrote(50, 50, 200*time.Microsecond)
	if n, patience := c.awaited(); n != 88 || patience <= 0 || patience > 100*time.Microsecond {
		t.Fatalf("50 were written while 50 came: it waits for %d, %v", n, patience)
	}
	c.waited(true)
	c.wrote(100, 0, 150*time.Microsecond)
	if n, patience := c.awaited(); n != 88 || patience == 0 {
		t.Fatalf("all come together: it waits for %d, %v", n, patience)
	}
	groups, waits := 1000, 0
	for range groups {
		c.wrote(10, 10, 100*time.Microsecond)
		if _, patience := c.awaited(); patience > 0 {
			waits++
			c.waited(false)
		}
	}
	if waits > groups/30 {
		t.Fatalf("it waited in vain %d times in %d groups", waits, groups)
	}
	c.wrote(10, 10, time.Hour) // the disk hung once
	for range 100 {
		c.wrote(10, 10, 100*time.Microsecond)
	}
	if c.took > time.Millisecond {
		t.Fatalf("a sync is taken to last %v", c.took)
	}
}
