package password

// recent is a map that forgets what was not used for long: it has two halves, and when the young one is full it becomes the old one,
// which is dropped. It holds at most twice half. The zero value of V is not stored.
type recent[K comparable, V any] struct {
	half       int
	young, old map[K]V
}

func newRecent[K comparable, V any](size int) recent[K, V] {
	return recent[K, V]{half: size / 2, young: map[K]V{}}
}

// get finds a value and keeps it young.
func (r *recent[K, V]) get(key K) (V, bool) {
	if v, ok := r.young[key]; ok {
		return v, true
	}
	v, ok := r.old[key]
	if ok {
		delete(r.old, key)
		r.put(key, v)
	}
	return v, ok
}

func (r *recent[K, V]) put(key K, v V) {
	if r.half == 0 {
		return
	}
	if _, there := r.young[key]; !there && len(r.young) >= r.half {
		r.old, r.young = r.young, map[K]V{}
	}
	r.young[key] = v
	delete(r.old, key)
}

func (r *recent[K, V]) remove(key K) {
	delete(r.young, key)
	delete(r.old, key)
}

// removeAll removes what gone is true for.
func (r *recent[K, V]) removeAll(gone func(V) bool) {
	for _, m := range []map[K]V{r.young, r.old} {
		for key, v := range m {
			if gone(v) {
				delete(m, key)
			}
		}
	}
}

func (r *recent[K, V]) len() int { return len(r.young) + len(r.old) }
