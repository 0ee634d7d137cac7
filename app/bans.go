package app

import (
	"context"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
)

// storedBans keeps bans in the accounts.
type storedBans struct{ *accounts.Accounts }

// PutBan implements ban.Store.
func (s storedBans) PutBan(ctx context.Context, b ban.Ban) error {
	kept := accounts.Ban{Subject: accounts.Subject(b.Subject), Value: b.Value, Quarantine: b.Quarantine, Reason: b.Reason, Until: b.Until, By: b.By}
	old, err := s.same(ctx, b)
	if err != nil {
		return err
	}
	kept.ID = old
	return s.Apply(ctx, []accounts.Change{{Ban: &kept}}, nil)
}

// RemoveBan implements ban.Store.
func (s storedBans) RemoveBan(ctx context.Context, b ban.Ban) error {
	id, err := s.same(ctx, b)
	if err != nil || id == "" {
		return err
	}
	return s.Apply(ctx, []accounts.Change{{Ban: &accounts.Ban{ID: id}, Delete: true}}, nil)
}

// same is the id of the ban that is kept for the same subject and value, "" = none.
func (s storedBans) same(ctx context.Context, b ban.Ban) (string, error) {
	all, err := s.Bans(ctx)
	for _, k := range all {
		if string(k.Subject) == string(b.Subject) && k.Value == b.Value {
			return k.ID, nil
		}
	}
	return "", err
}

// all are those that are kept and in force.
func (s storedBans) all(ctx context.Context) ([]ban.Ban, error) {
	kept, err := s.Bans(ctx)
	var all []ban.Ban
	for _, b := range kept {
		if b.Until.IsZero() || time.Now().Before(b.Until) {
			all = append(all, ban.Ban{Subject: ban.Subject(b.Subject), Value: b.Value, Quarantine: b.Quarantine, Reason: b.Reason, Until: b.Until, By: b.By})
		}
	}
	return all, err
}
