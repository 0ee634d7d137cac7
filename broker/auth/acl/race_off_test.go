//go:build !race

package acl_test

const raced = false
