// Package auth is the contract of who may connect and what they may touch. It
// holds the interfaces and their vocabulary only; backends are packages below it.
package auth

import (
	"context"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Attempt is what a client shows when it connects.
type Attempt struct {
	ClientID string
	Username string
	Password []byte
	HasUser  bool
	HasPass  bool
	Remote   string // address of the peer
}

// Identity is who a client turned out to be. It is never changed once made.
type Identity struct {
	// Name is what sessions belong to: nobody else may take one over. Empty = anonymous.
	Name string
}

// Authenticator tells who a client is. It is called on a goroutine of its own
// and may take its time until ctx ends; any error is a refusal.
type Authenticator interface {
	Authenticate(ctx context.Context, a *Attempt) (*Identity, mqtt.ReasonCode)
}

// Action is what a client wants to do with a topic.
type Action uint8

// The actions.
const (
	Publish   Action = iota + 1 // to a topic name, also by a will
	Subscribe                   // to a topic filter, without its "$share/group/"
	Receive                     // a message of a topic name, however it was subscribed to
)

// Authorizer tells whether a client may do something. It is asked on the message
// path, from several goroutines, and must not block; topic is a view.
type Authorizer interface {
	Authorize(id *Identity, clientID string, a Action, topic []byte) bool
}
