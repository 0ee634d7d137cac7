// Package accounts is what the broker knows of users, groups, rules and bans, and the contract of where they are kept:
// what they are, what is valid, how they change, and who is told. It knows no database and no protocol; accountstest
// is the suite that every Store passes.
package accounts

import (
	"fmt"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Kind is what a user stands for.
type Kind string

// The kinds of users.
const (
	Person Kind = "person"
	Device Kind = "device"
)

// Revision counts the batches of changes that a store took; an item bears that of its last one. It never goes back, also not when
// an item is removed and made again.
type Revision uint64

// Stamp says when an item was made and changed. Apply fills it in.
type Stamp struct {
	Revision Revision  `json:"revision"`
	Created  time.Time `json:"created"`
	Changed  time.Time `json:"changed"`
}

// User may connect by a password. The JSON form has no secrets.
type User struct {
	Name     string     `json:"name"`
	Kind     Kind       `json:"kind"`
	Password string     `json:"-"` // as phc.Parse reads it; "" = none, so that nobody gets in
	Keys     []ScramKey `json:"-"` // for SCRAM, derived from the same password; none = SCRAM is not possible
	Groups   []string   `json:"groups,omitempty"`
	ClientID string     `json:"client_id,omitempty"` // the only one that the user may connect with, where * stands for any characters; "" = any
	Disabled bool       `json:"disabled,omitempty"`
	Expires  time.Time  `json:"expires,omitzero"` // zero = never
	Note     string     `json:"note,omitempty"`
	Stamp
}

// ScramKey is what a server keeps to authenticate by one of the SCRAM methods (RFC 5802 3). The password does not follow from it but by
// trying, iteration by iteration.
type ScramKey struct {
	Method     string `json:"method"` // SCRAM-SHA-256 or SCRAM-SHA-512
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	StoredKey  []byte `json:"stored_key"`
	ServerKey  []byte `json:"server_key"`
}

// Group is a name that users share, for rules to go by.
type Group struct {
	Name string `json:"name"`
	Note string `json:"note,omitempty"`
	Stamp
}

// Rule is an authorisation rule that is stored. Its JSON form is that of the configuration file.
type Rule struct {
	ID string // "" = Apply makes one up
	auth.Rule
	Note string
	Stamp
}

// Subject is what a ban is about.
type Subject string

// The subjects of bans.
const (
	BanClient  Subject = "client"  // a client id
	BanUser    Subject = "user"    // the name of an identity
	BanAddress Subject = "address" // an address or a network in CIDR notation
	BanPattern Subject = "pattern" // of client ids, where * stands for any characters
)

// Ban keeps somebody out, or apart.
type Ban struct {
	ID         string    `json:"id"` // "" = Apply makes one up
	Subject    Subject   `json:"subject"`
	Value      string    `json:"value"`
	Quarantine bool      `json:"quarantine,omitempty"` // may connect, but is kept apart
	Reason     string    `json:"reason,omitempty"`
	Until      time.Time `json:"until,omitzero"` // zero = for ever
	By         string    `json:"by,omitempty"`   // who said so
	Stamp
}

// By is the backend named by identities that come from accounts.
const By = "accounts"

// Identity is who somebody is that proved to be this user.
func (u *User) Identity() *auth.Identity {
	return &auth.Identity{Name: u.Name, Groups: slices.Clone(u.Groups), Expires: u.Expires, By: By}
}

// Admit tells who the client is, once it has proved to be this user, or why it is not let in all the same: a *auth.Refusal. Every
// backend that goes by accounts ends with it.
func (u *User) Admit(clientID string, now time.Time) (*auth.Identity, error) {
	why := u.barred(clientID, now)
	if why != "" {
		return nil, &auth.Refusal{Reason: mqtt.NotAuthorized, Text: "not authorized", By: By, Why: why}
	}
	return u.Identity(), nil
}

// barred says why the user may not connect at all, or not with this client id.
func (u *User) barred(clientID string, now time.Time) string {
	switch {
	case u.Disabled:
		return fmt.Sprintf("user %q is disabled", u.Name)
	case !u.Expires.IsZero() && !now.Before(u.Expires):
		return fmt.Sprintf("user %q expired at %s", u.Name, u.Expires.UTC().Format(time.RFC3339))
	case u.ClientID != "" && !topic.Like(u.ClientID, clientID):
		return fmt.Sprintf("user %q may connect with the client id %q only, not with %q", u.Name, u.ClientID, clientID)
	}
	return ""
}
