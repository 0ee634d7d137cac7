package rights

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// RuleFields are a rule in the words of the configuration file.
type RuleFields struct {
	Name        string   `json:"name,omitempty" maxLength:"256" doc:"How explanations call it."`
	Allow       []string `json:"allow,omitempty" enum:"publish,subscribe,receive,retain" doc:"What it allows."`
	Deny        []string `json:"deny,omitempty" enum:"publish,subscribe,receive,retain" doc:"What it denies, instead of allow."`
	Topics      []string `json:"topics" minItems:"1" maxItems:"1000" doc:"Filters; {client}, {user}, {cn}, {group} and {claim.NAME} stand for the client's own."`
	Users       []string `json:"users,omitempty" doc:"Whom it is about; * stands for any characters, here and in the next four."`
	Groups      []string `json:"groups,omitempty"`
	Clients     []string `json:"clients,omitempty"`
	CommonNames []string `json:"common_names,omitempty"`
	Listeners   []string `json:"listeners,omitempty"`
	Addresses   []string `json:"addresses,omitempty" doc:"Networks, such as 10.0.0.0/8."`
	Claims      []string `json:"claims,omitempty" doc:"name=value"`
	QoS         []int    `json:"qos,omitempty" doc:"0, 1, 2; empty is all."`
	Retain      string   `json:"retain,omitempty" enum:"any,only,never"`
	Priority    int      `json:"priority,omitempty" doc:"The highest decides."`
	Note        string   `json:"note,omitempty" maxLength:"1024"`
}

// Rule is a rule that is stored.
type Rule struct {
	ID string `json:"id"`
	RuleFields
	accounts.Stamp
}

func (o *accountsOf) registerRules(h huma.API) {
	type Path struct {
		ID string `path:"id" maxLength:"256"`
	}
	listed := ruleSchema()
	huma.Register(h, stored("rules", http.MethodGet, "/rules", "rules", "The rules that are stored, by id; those of files stand in the configuration"),
		func(ctx context.Context, in *serve.ShortQuery) (*answer[serve.List[Rule]], error) {
			found, err := o.Rules(ctx)
			if err != nil {
				return nil, serve.Failure(err)
			}
			var list []Rule
			for _, r := range found {
				one, err := reform[Rule](r)
				if err != nil {
					return nil, serve.Failure(err)
				}
				list = append(list, one)
			}
			return short(listed, list, in)
		})
	create := stored("rule-create", http.MethodPost, "/rules", "rules", "Create a rule; it holds at once, for those connected too")
	create.DefaultStatus = http.StatusCreated
	huma.Register(h, create, func(ctx context.Context, in *struct{ Body RuleFields }) (*tagged[Rule], error) {
		return o.putRule(ctx, "", &in.Body, accounts.Absent, &Condition{})
	})
	huma.Register(h, stored("rule", http.MethodGet, "/rules/{id}", "rules", "One rule", http.StatusNotFound),
		func(ctx context.Context, in *Path) (*tagged[Rule], error) {
			found, err := o.Rules(ctx)
			if err != nil {
				return nil, serve.Failure(err)
			}
			for _, r := range found {
				if r.ID == in.ID {
					one, err := reform[Rule](r)
					return tag(r.Revision, one), serve.Failure(err)
				}
			}
			return nil, serve.Missing("rule", in.ID)
		})
	huma.Register(h, stored("rule-put", http.MethodPut, "/rules/{id}", "rules", "Replace a rule, or create it under this id", http.StatusNotFound, http.StatusPreconditionFailed),
		func(ctx context.Context, in *struct {
			Path
			Condition
			Body RuleFields
		},
		) (*tagged[Rule], error) {
			r, err := in.revision(accounts.AnyRevision)
			if err != nil {
				return nil, err
			}
			return o.putRule(ctx, in.ID, &in.Body, r, &in.Condition)
		})
	huma.Register(h, serve.Deleted(stored("rule-delete", http.MethodDelete, "/rules/{id}", "rules", "Delete a rule", http.StatusNotFound, http.StatusPreconditionFailed)),
		func(ctx context.Context, in *struct {
			Path
			Condition
		},
		) (*struct{}, error) {
			r, err := in.revision(accounts.AnyRevision)
			if err != nil {
				return nil, err
			}
			rule := accounts.Rule{ID: in.ID}
			return nil, o.change(ctx, accounts.Change{Rule: &rule, Delete: true, If: r}, &in.Condition)
		})
}

func (o *accountsOf) putRule(ctx context.Context, id string, f *RuleFields, r accounts.Revision, by *Condition) (*tagged[Rule], error) {
	rule, err := reform[accounts.Rule](f)
	if err != nil {
		return nil, serve.Failure(fmt.Errorf("%w: %w", accounts.ErrInvalid, err))
	}
	rule.ID = id
	if err := o.change(ctx, accounts.Change{Rule: &rule, If: r}, by); err != nil {
		return nil, err
	}
	made, err := reform[Rule](rule)
	return tag(rule.Revision, made), serve.Failure(err)
}
