package main

// aclCmd is `sapwood acl`.
type aclCmd struct {
	Explain aclExplainCmd `cmd:"" help:"Say which rule decides about a client and a topic, and why."`
	Test    aclTestCmd    `cmd:"" help:"Check what clients may do against expectations."`
}
