package settings

import (
	"reflect"
	"strconv"
)

// How a setting differs.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Change is one setting that differs between two Sets. Old and New are shown as Explain shows them, so that both
// are the same where a secret changed, or what a reference stands for.
type Change struct {
	Key     string `json:"key"`
	Kind    string `json:"kind" enum:"added,removed,changed"`
	Old     string `json:"old,omitempty"`
	New     string `json:"new,omitempty"`
	From    Origin `json:"from"` // of what holds in the newer Set
	Secret  bool   `json:"secret,omitempty"`
	Restart bool   `json:"restart,omitempty"`
}

// Diff tells what is different in the newer of two Sets of the same type. The elements of a list are the same ones when they
// have the same name, or else the same address, or else the same place; their order does not matter. Of elements that
// came or went, it lists what is not at its default.
func Diff(older, newer *Set) []Change {
	d := differ{older: older, newer: newer}
	d.node(older.root, older.value, newer.value, "", "")
	return d.found
}

type differ struct {
	older, newer *Set
	found        []Change
}

// node compares what one node holds at two paths.
func (d *differ) node(n *node, was, is reflect.Value, oldPath, newPath string) {
	switch n.kind {
	case section:
		for _, c := range n.children {
			d.node(c, was.Field(c.field), is.Field(c.field), join(oldPath, c.name), join(newPath, c.name))
		}
	case list:
		d.list(n, was, is, oldPath, newPath)
	default:
		if n.format(was) != n.format(is) {
			d.found = append(d.found, Change{
				Key: newPath, Kind: Changed, Old: d.older.show(oldPath, n, was), New: d.newer.show(newPath, n, is),
				From: d.newer.From(newPath), Secret: n.secret, Restart: n.restart,
			})
		}
	}
}

// list finds the elements that are the same, and those that only one side has.
func (d *differ) list(n *node, was, is reflect.Value, oldPath, newPath string) {
	one := n.children[0]
	before := one.identities(was)
	at := map[string]int{}
	for i, id := range before {
		at[id] = i
	}
	kept := map[int]bool{}
	for i, id := range one.identities(is) {
		if j, ok := at[id]; ok {
			kept[j] = true
			d.node(one, was.Index(j), is.Index(i), index(oldPath, j), index(newPath, i))
			continue
		}
		d.only(one, is.Index(i), index(newPath, i), Added)
	}
	for j := range before {
		if !kept[j] {
			d.only(one, was.Index(j), index(oldPath, j), Removed)
		}
	}
}

// only lists an element that one side does not have.
func (d *differ) only(n *node, v reflect.Value, path, kind string) {
	fresh := n.fresh()
	count := len(d.found)
	for again := range 2 { // an element of nothing but defaults is listed too
		n.leaves(v, path, func(p string, n *node, v reflect.Value) {
			c := Change{Key: p, Kind: kind, Secret: n.secret, Restart: n.restart}
			if kind == Added {
				c.New, c.From = d.newer.show(p, n, v), d.newer.From(p)
			} else {
				c.Old = d.older.show(p, n, v)
			}
			if again == 1 || n.format(v) != n.defaultIn(fresh, p[len(path):], n) {
				d.found = append(d.found, c)
			}
		})
		if len(d.found) > count {
			return
		}
	}
}

// defaultIn is what a new element holds at a path below it.
func (*node) defaultIn(fresh reflect.Value, below string, leaf *node) string {
	n := describe(fresh.Type())
	if len(below) > 0 && below[0] == '.' {
		below = below[1:]
	}
	if _, v, err := n.locate(fresh, below, false); err == nil {
		return leaf.format(v)
	}
	return leaf.format(reflect.New(leaf.typ).Elem())
}

// identities are what the elements of a list are known by, none twice.
func (n *node) identities(v reflect.Value) []string {
	ids := make([]string, v.Len())
	seen := map[string]int{}
	for i := range ids {
		id := ""
		for _, name := range []string{"name", "address"} {
			if c := n.child(name); c != nil && id == "" {
				id = c.format(v.Index(i).Field(c.field))
			}
		}
		seen[id]++
		if id == "" || seen[id] > 1 {
			id += "#" + strconv.Itoa(seen[id])
		}
		ids[i] = id
	}
	return ids
}
