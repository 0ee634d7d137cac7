package rights

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

func (o *accountsOf) registerGroups(h huma.API) {
	listed := groupSchema()
	huma.Register(h, stored("groups", http.MethodGet, "/groups", "groups", "Groups, by name"),
		func(ctx context.Context, in *serve.ShortQuery) (*answer[serve.List[accounts.Group]], error) {
			list, err := o.Groups(ctx)
			if err != nil {
				return nil, serve.Failure(err)
			}
			return short(listed, list, in)
		})
	huma.Register(h, stored("group", http.MethodGet, "/groups/{name}", "groups", "One group", http.StatusNotFound),
		func(ctx context.Context, in *Named) (*tagged[accounts.Group], error) {
			list, err := o.Groups(ctx)
			if err != nil {
				return nil, serve.Failure(err)
			}
			for _, g := range list {
				if g.Name == in.Name {
					return tag(g.Revision, g), nil
				}
			}
			return nil, serve.Missing("group", in.Name)
		})
	huma.Register(h, stored("group-put", http.MethodPut, "/groups/{name}", "groups", "Create a group or change its note", http.StatusNotFound, http.StatusPreconditionFailed),
		func(ctx context.Context, in *struct {
			Named
			Condition
			Body struct {
				Note string `json:"note,omitempty" maxLength:"1024"`
			}
		},
		) (*tagged[accounts.Group], error) {
			r, err := in.revision(accounts.AnyRevision)
			if err != nil {
				return nil, err
			}
			g := accounts.Group{Name: in.Name, Note: in.Body.Note}
			if err := o.change(ctx, accounts.Change{Group: &g, If: r}, &in.Condition); err != nil {
				return nil, err
			}
			return tag(g.Revision, g), nil
		})
	huma.Register(h, serve.Deleted(stored("group-delete", http.MethodDelete, "/groups/{name}", "groups",
		"Delete a group that has no members any more", http.StatusNotFound, http.StatusPreconditionFailed)),
		o.deleting(func(name string) accounts.Change { return accounts.Change{Group: &accounts.Group{Name: name}} }))
}
