//go:build !race

package topic

const poolMiss = 0
