package rights

import (
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/filter"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// short answers with a page of a list.
func short[T any](s *filter.Schema[T], items []T, q *serve.ShortQuery) (*answer[serve.List[T]], error) {
	l, err := serve.Short(s, items, q)
	if err != nil {
		return nil, err
	}
	return &answer[serve.List[T]]{l}, nil
}

// stamped makes the schema of what bears a name, or an id, and a stamp.
func stamped[T any](name filter.Field[T], stamp func(*T) *accounts.Stamp, fields ...filter.Field[T]) *filter.Schema[T] {
	return filter.New(name, append(append([]filter.Field[T]{name}, fields...),
		filter.TimeOf("created", func(v *T) time.Time { return stamp(v).Created }),
		filter.TimeOf("changed", func(v *T) time.Time { return stamp(v).Changed }))...)
}

func groupSchema() *filter.Schema[accounts.Group] {
	type g = accounts.Group
	return stamped(filter.TextOf("name", func(v *g) string { return v.Name }), func(v *g) *accounts.Stamp { return &v.Stamp },
		filter.TextOf("note", func(v *g) string { return v.Note }))
}

func ruleSchema() *filter.Schema[Rule] {
	type r = Rule
	return stamped(filter.TextOf("id", func(v *r) string { return v.ID }), func(v *r) *accounts.Stamp { return &v.Stamp },
		filter.TextOf("name", func(v *r) string { return v.Name }),
		filter.TextsOf("allow", func(v *r) []string { return v.Allow }),
		filter.TextsOf("deny", func(v *r) []string { return v.Deny }),
		filter.TextsOf("topics", func(v *r) []string { return v.Topics }),
		filter.TextsOf("users", func(v *r) []string { return v.Users }),
		filter.TextsOf("groups", func(v *r) []string { return v.Groups }),
		filter.TextsOf("clients", func(v *r) []string { return v.Clients }),
		filter.TextsOf("common_names", func(v *r) []string { return v.CommonNames }),
		filter.TextsOf("listeners", func(v *r) []string { return v.Listeners }),
		filter.TextsOf("addresses", func(v *r) []string { return v.Addresses }),
		filter.TextsOf("claims", func(v *r) []string { return v.Claims }),
		filter.TextOf("retain", func(v *r) string { return v.Retain }),
		filter.NumberOf("priority", func(v *r) int { return v.Priority }),
		filter.TextOf("note", func(v *r) string { return v.Note }))
}

func banSchema() *filter.Schema[Ban] {
	subject := filter.TextOf("subject", func(v *Ban) string { return v.Subject })
	key := filter.Field[Ban]{Append: func(b []byte, v *Ban) []byte { return append(append(append(b, v.Subject...), 0), v.Value...) }}
	return filter.New(key, subject,
		filter.TextOf("value", func(v *Ban) string { return v.Value }),
		filter.BoolOf("quarantine", func(v *Ban) bool { return v.Quarantine }),
		filter.TextOf("reason", func(v *Ban) string { return v.Reason }),
		filter.TimeOf("until", func(v *Ban) time.Time { return v.Until }),
		filter.TextOf("by", func(v *Ban) string { return v.By }))
}

func operatorSchema() *filter.Schema[Operator] {
	type o = Operator
	return stamped(filter.TextOf("name", func(v *o) string { return v.Name }), func(v *o) *accounts.Stamp { return &v.Stamp },
		filter.TextOf("role", func(v *o) string { return string(v.Role) }),
		filter.BoolOf("disabled", func(v *o) bool { return v.Disabled }),
		filter.BoolOf("password_change_needed", func(v *o) bool { return v.ChangeNeeded }),
		filter.NumberOf("sessions", func(v *o) int { return v.Sessions }),
		filter.TextOf("note", func(v *o) string { return v.Note }))
}

func keySchema() *filter.Schema[access.APIKey] {
	type k = access.APIKey
	return stamped(filter.TextOf("name", func(v *k) string { return v.Name }), func(v *k) *accounts.Stamp { return &v.Stamp },
		filter.TextOf("begins", func(v *k) string { return v.Begins }),
		filter.TextsOf("scopes", func(v *k) []string { return v.Scopes }),
		filter.TimeOf("expires", func(v *k) time.Time { return v.Expires }),
		filter.TimeOf("last_used", func(v *k) time.Time { return v.Used }),
		filter.BoolOf("disabled", func(v *k) bool { return v.Disabled }),
		filter.TextOf("by", func(v *k) string { return v.By }),
		filter.TextOf("note", func(v *k) string { return v.Note }))
}
