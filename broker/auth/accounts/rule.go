package accounts

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// ruleForm is a rule as people write it, in the words of the configuration file.
type ruleForm struct {
	ID          string         `json:"id,omitempty"`
	Name        string         `json:"name,omitempty"`
	Allow       []string       `json:"allow,omitempty"`
	Deny        []string       `json:"deny,omitempty"`
	Topics      []string       `json:"topics"`
	Users       []string       `json:"users,omitempty"`
	Groups      []string       `json:"groups,omitempty"`
	Clients     []string       `json:"clients,omitempty"`
	CommonNames []string       `json:"common_names,omitempty"`
	Listeners   []string       `json:"listeners,omitempty"`
	Addresses   []netip.Prefix `json:"addresses,omitempty"`
	Claims      []string       `json:"claims,omitempty"` // key=value
	QoS         []int          `json:"qos,omitempty"`
	Retain      string         `json:"retain,omitempty"` // any, only, never
	Priority    int            `json:"priority,omitempty"`
	Note        string         `json:"note,omitempty"`
	Stamp
}

// MarshalJSON writes it in the words of the configuration file.
func (r Rule) MarshalJSON() ([]byte, error) {
	f := ruleForm{
		ID: r.ID, Name: r.Name, Topics: r.Topics, Users: r.Who.Users, Groups: r.Who.Groups, Clients: r.Who.Clients,
		CommonNames: r.Who.CommonNames, Listeners: r.Who.Listeners, Addresses: r.Who.Addresses, Priority: r.Priority, Note: r.Note, Stamp: r.Stamp,
	}
	for _, a := range ruleActions {
		if r.Actions.Has(a) && r.Deny {
			f.Deny = append(f.Deny, a.String())
		} else if r.Actions.Has(a) {
			f.Allow = append(f.Allow, a.String())
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Who.Claims)) {
		f.Claims = append(f.Claims, key+"="+r.Who.Claims[key])
	}
	for _, q := range r.QoS {
		f.QoS = append(f.QoS, int(q))
	}
	if r.Retain != nil {
		f.Retain = "never"
		if *r.Retain {
			f.Retain = "only"
		}
	}
	return json.Marshal(f)
}

// ruleActions are those that a rule may name, in the order in which they are written.
var ruleActions = [...]auth.Action{auth.Publish, auth.Subscribe, auth.Receive}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Rule) UnmarshalJSON(text []byte) error {
	var f ruleForm
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	if len(f.Allow) > 0 && len(f.Deny) > 0 {
		return errors.New("a rule allows or denies, not both")
	}
	n := Rule{ID: f.ID, Note: f.Note, Stamp: f.Stamp, Rule: auth.Rule{
		Name: f.Name, Deny: len(f.Deny) > 0, Topics: f.Topics, Priority: f.Priority,
		Who: auth.Who{Users: f.Users, Groups: f.Groups, Clients: f.Clients, CommonNames: f.CommonNames, Listeners: f.Listeners, Addresses: f.Addresses},
	}}
	words := append(f.Allow, f.Deny...)
	for _, name := range words {
		if name == "retain" { // to publish, what is retained
			n.Actions |= auth.ActionsOf(auth.Publish)
			continue
		}
		i := slices.IndexFunc(ruleActions[:], func(a auth.Action) bool { return a.String() == name })
		if i < 0 {
			return fmt.Errorf("%q is no action: publish, subscribe, receive or retain", name)
		}
		n.Actions |= auth.ActionsOf(ruleActions[i])
	}
	for _, claim := range f.Claims {
		key, value, ok := strings.Cut(claim, "=")
		if !ok {
			return fmt.Errorf("the claim %q is not of the form key=value", claim)
		}
		if n.Who.Claims == nil {
			n.Who.Claims = map[string]string{}
		}
		n.Who.Claims[key] = value
	}
	for _, q := range f.QoS {
		if q < 0 || q > 2 {
			return fmt.Errorf("%d is no QoS", q)
		}
		n.QoS = append(n.QoS, mqtt.QoS(q))
	}
	switch retains := slices.Contains(words, "retain"); {
	case retains && f.Retain == "never":
		return errors.New("retain is never, but an action is retain")
	case retains && !slices.Contains(words, "publish"):
		f.Retain = "only"
	}
	switch f.Retain {
	case "", "any":
	case "only", "never":
		only := f.Retain == "only"
		n.Retain = &only
	default:
		return fmt.Errorf("retain is %q, but must be any, only or never", f.Retain)
	}
	*r = n
	return nil
}
