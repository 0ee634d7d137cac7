//go:build race

package broker_test

// raced tells that the race detector watches: large tests are made smaller.
const raced = true
