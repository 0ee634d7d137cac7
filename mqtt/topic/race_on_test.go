//go:build race

package topic

// poolMiss is the most allocations of a match: under the race detector sync.Pool forgets at random.
const poolMiss = 4
