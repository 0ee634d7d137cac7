package main

// aclCmd is `sapwood acl`.
type aclCmd struct {
	Test aclTestCmd `cmd:"" help:"Check the rules of a configuration file against expectations."`
	Ask  aclAskCmd  `cmd:"" help:"Ask the rules of a configuration file one question."`
}
