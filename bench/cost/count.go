package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// functions are the instructions of each, by name.
type functions map[string]float64

// countAll prints the instructions for each copy. They repeat to within a few, whatever else the machine does.
func countAll(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "sapwood-cost-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := func(name string) string { return filepath.Join(dir, name+".cachegrind") }
	peers, err := o.peers(func(name string) []string {
		return []string{"valgrind", "--quiet", "--log-file=/dev/null", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=" + file(name)}
	})
	if err != nil {
		return err
	}
	for _, s := range shapes() {
		if !o.only.MatchString(s.name) {
			continue
		}
		fmt.Printf("| %s |", s.name)
		first := 0.0
		for i, p := range peers {
			per, err := count(ctx, p, s, file(p.Name))
			if err != nil {
				return fmt.Errorf("%s, %s: %w", s.name, p.Name, err)
			}
			sum := 0.0
			for _, n := range per {
				sum += n
			}
			fmt.Printf(" %s %.0f |", p.Name, sum)
			if i == 0 {
				first = sum
			} else {
				fmt.Printf(" %+.1f %% |", 100*(sum/first-1))
			}
			if p.Name == o.lines {
				per.print()
			}
		}
		fmt.Println()
	}
	return nil
}

// count runs a few blocks and many, each with a new broker: the difference is what the messages cost.
func count(ctx context.Context, p peer.Broker, s shape, file string) (functions, error) {
	few := max(4, s.topics/s.block)
	var made [2]functions
	copies := 0
	for i, blocks := range []int{few, 2*few + 20} {
		r, err := p.Start(ctx, "")
		if err != nil {
			return nil, err
		}
		g, err := s.rig(r.Address)
		for n := 0; n < blocks && err == nil; n++ {
			err = g.round()
		}
		if err == nil {
			g.close()
			copies = (blocks - few) * g.copies()
		}
		r.Stop()
		if err == nil {
			made[i], err = readFunctions(file)
		}
		if err != nil {
			return nil, err
		}
	}
	for name := range made[1] {
		made[1][name] = (made[1][name] - made[0][name]) / float64(copies)
	}
	return made[1], nil
}

// readFunctions reads what cachegrind wrote: of this module and of what the runtime does for it, without the garbage collector, the
// scheduler and system calls.
func readFunctions(file string) (functions, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	made := make(functions)
	name := ""
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if n, ok := strings.CutPrefix(line, "fn="); ok {
			name = ""
			if ours(n) {
				name = n
			}
		} else if _, n, ok := strings.Cut(line, " "); ok && name != "" && line[0] >= '0' && line[0] <= '9' {
			v, err := strconv.ParseFloat(n, 64)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			made[name] += v
		}
	}
	return made, lines.Err()
}

func ours(function string) bool {
	for _, part := range []string{"sapwood/broker", "sapwood/mqtt", "memmove", "memequal", "memhash", "maphash", "strhash", "memclr", "mapaccess", "internal/runtime/maps"} {
		if strings.Contains(function, part) {
			return true
		}
	}
	return false
}

// print lists the functions that take most.
func (f functions) print() {
	fmt.Println()
	names := slices.SortedFunc(maps.Keys(f), func(a, b string) int { return cmp.Compare(f[b], f[a]) })
	for _, n := range names {
		if f[n] >= 1 {
			fmt.Printf("%8.1f %s\n", f[n], n)
		}
	}
}
