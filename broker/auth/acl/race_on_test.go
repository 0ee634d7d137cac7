//go:build race

package acl_test

// raced tells that the race detector watches: large tests are made smaller.
const raced = true
