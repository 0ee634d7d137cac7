package fact

import "strings"

// Overlap tells whether there is a topic name that both match; each is a name or a filter, also a shared one. So a fact about the
// branch a/b/# is found by the name a/b/c and by the filter a/#, one about a/b/c by a/#. As with subscriptions, a wildcard
// in the first level meets no name that begins with $.
func Overlap(a, b string) bool {
	a, b = unshared(a), unshared(b)
	if a == "" || b == "" {
		return false
	}
	for first := true; ; first = false {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		if first && (wild(x) && strings.HasPrefix(y, "$") || wild(y) && strings.HasPrefix(x, "$")) {
			return false
		}
		switch {
		case x == "#" || y == "#":
			return true
		case x != y && x != "+" && y != "+":
			return false
		case !moreA && !moreB:
			return true
		case !moreA:
			return restB == "#" // a/# matches a too
		case !moreB:
			return restA == "#"
		}
		a, b = restA, restB
	}
}

func wild(level string) bool { return level == "+" || level == "#" }

// unshared is a filter without the group that shares it.
func unshared(filter string) string {
	rest, shared := strings.CutPrefix(filter, "$share/")
	if !shared {
		return filter
	}
	_, inner, _ := strings.Cut(rest, "/")
	return inner
}

// Key is what an index keeps of a name or filter: what stands before the first wildcard. It ends in / or is empty if there is one.
func Key(topic string) string {
	topic = unshared(topic)
	for at := 0; ; {
		level, _, more := strings.Cut(topic[at:], "/")
		if wild(level) {
			return topic[:at]
		}
		if !more {
			return topic
		}
		at += len(level) + 1
	}
}

// Keys are where an index has to look for the facts that Overlap finds: at the keys of one, and, if branch is not nil, at all that begin
// with it, none of which is among them. What is found there need not overlap.
func Keys(topic string) (one []string, branch *string) {
	topic = unshared(topic)
	key := Key(topic)
	one = append(one, "")
	if key == topic { // a name
		one = append(one, key, key+"/")
	} else {
		branch = &key
		if key == "" {
			return nil, branch
		}
		one = append(one, strings.TrimSuffix(key, "/"))
	}
	for i, r := range key {
		if r == '/' && i+1 < len(key) {
			one = append(one, key[:i+1])
		}
	}
	return unique(one), branch
}

// unique removes what is there twice, as with a topic that begins with or has nothing but slashes.
func unique(all []string) []string {
	kept := all[:0]
	seen := make(map[string]bool, len(all))
	for _, s := range all {
		if !seen[s] {
			seen[s] = true
			kept = append(kept, s)
		}
	}
	return kept
}
