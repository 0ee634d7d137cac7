package app

import (
	"context"
	"errors"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// apiClients are the broker's clients as the API acts on them.
type apiClients struct {
	view *broker.View
	*broker.Control
}

// Principal implements api.Clients.
func (c apiClients) Principal(ctx context.Context, id string) (*auth.Principal, bool, error) {
	who, err := c.Control.Principal(ctx, id)
	if errors.Is(err, broker.ErrNoClient) {
		return nil, false, nil
	}
	return who, err == nil, err
}

// Disconnect implements api.Clients.
func (c apiClients) Disconnect(ctx context.Context, id, why string) (bool, error) {
	was, err := c.view.Client(ctx, id)
	if errors.Is(err, broker.ErrNoClient) || err == nil && !was.Connected {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, c.Control.Disconnect(ctx, id, mqtt.AdministrativeAction, why)
}

// apiBans are the broker's bans as the API changes them.
type apiBans struct{ *broker.Control }

// List implements api.Bans.
func (b apiBans) List(context.Context) ([]api.Ban, error) {
	all := b.Bans()
	list := make([]api.Ban, len(all))
	for i, x := range all {
		list[i] = api.Ban{Subject: string(x.Subject), Value: x.Value, Quarantine: x.Quarantine, Reason: x.Reason, Until: x.Until, By: x.By}
	}
	return list, nil
}

// Add implements api.Bans.
func (b apiBans) Add(ctx context.Context, x api.Ban) (int, error) {
	done, err := b.Ban(ctx, ban.Ban{Subject: ban.Subject(x.Subject), Value: x.Value, Quarantine: x.Quarantine, Reason: x.Reason, Until: x.Until, By: x.By})
	return done.Disconnected + done.Changed, err
}

// Remove implements api.Bans.
func (b apiBans) Remove(ctx context.Context, subject, value string) (bool, error) {
	_, err := b.Unban(ctx, ban.Subject(subject), value)
	if errors.Is(err, ban.ErrUnknown) {
		return false, nil
	}
	return err == nil, err
}
