package rights

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Operator is somebody who may use the API and the console.
type Operator struct {
	access.Operator
	Sessions int `json:"sessions" doc:"Logins that are open."`
}

// OperatorSecret is an operator and, where one was made, its password.
type OperatorSecret struct {
	Operator
	Secret string `json:"secret,omitempty" doc:"The random password that was asked for. It is shown this one time."`
}

// OperatorFields are what of an operator can be set.
type OperatorFields struct {
	Role     *access.Role `json:"role,omitempty" enum:"viewer,operator,admin" doc:"viewer reads; operator acts on clients and messages too; admin does everything. A new one is a viewer."`
	Disabled *bool        `json:"disabled,omitempty"`
	Note     *string      `json:"note,omitempty" maxLength:"1024"`
	Password *string      `json:"password,omitempty" minLength:"8" maxLength:"1024" writeOnly:"true" doc:"It is for the first login: whoever sets it knows it."`
	Generate bool         `json:"generate,omitempty" doc:"Make a random password, which the answer has, this one time."`
}

func (o *accessOf) shown(op access.Operator) Operator { return Operator{op, o.Sessions(op.Name)} }

func (o *accessOf) registerOperators(h huma.API) {
	listed := operatorSchema()
	huma.Register(h, serve.Operation("operators", http.MethodGet, "/operators", "access", "Who may use the API and the console, by name"),
		func(_ context.Context, in *serve.ShortQuery) (*answer[serve.List[Operator]], error) {
			var all []Operator
			for _, op := range o.Operators() {
				all = append(all, o.shown(op))
			}
			return short(listed, all, in)
		})
	create := serve.Operation("operator-create", http.MethodPost, "/operators", "access", "Create an operator", http.StatusConflict)
	create.DefaultStatus = http.StatusCreated
	huma.Register(h, create, func(ctx context.Context, in *struct {
		Body struct {
			Name string `json:"name" minLength:"1" maxLength:"100"`
			OperatorFields
		}
	},
	) (*tagged[OperatorSecret], error) {
		return o.putOperator(ctx, in.Body.Name, &in.Body.OperatorFields, accounts.Absent)
	})
	huma.Register(h, serve.Operation("operator", http.MethodGet, "/operators/{name}", "access", "One operator", http.StatusNotFound),
		func(_ context.Context, in *Named) (*tagged[Operator], error) {
			op, err := o.Operator(in.Name)
			if err != nil {
				return nil, notIn(err)
			}
			return tag(op.Revision, o.shown(op)), nil
		})
	huma.Register(h, serve.Operation("operator-patch", http.MethodPatch, "/operators/{name}", "access",
		"Change some of an operator; another password, another role and disabled end its sessions", http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed),
		func(ctx context.Context, in *struct {
			Named
			Condition
			Body OperatorFields
		},
		) (*tagged[OperatorSecret], error) {
			r, err := conditionOf(&in.Condition)
			if err != nil {
				return nil, err
			}
			return o.putOperator(ctx, in.Name, &in.Body, r)
		})
	huma.Register(h, serve.Deleted(serve.Operation("operator-delete", http.MethodDelete, "/operators/{name}", "access",
		"Delete an operator; its sessions end", http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed)),
		func(ctx context.Context, in *namedCondition) (*struct{}, error) {
			r, err := conditionOf(&in.Condition)
			if err != nil {
				return nil, err
			}
			return nil, notIn(o.DeleteOperator(ctx, in.Name, r))
		})
}

func (o *accessOf) putOperator(ctx context.Context, name string, f *OperatorFields, r accounts.Revision) (*tagged[OperatorSecret], error) {
	c := access.OperatorChange{Role: f.Role, Disabled: f.Disabled, Note: f.Note, Password: f.Password}
	secret := ""
	if f.Generate {
		if f.Password != nil {
			return nil, huma.Error422UnprocessableEntity("give one of password and generate")
		}
		secret = rand.Text()
		c.Password = &secret
	}
	op, err := o.PutOperator(ctx, name, c, r)
	if err != nil {
		return nil, notIn(err)
	}
	return tag(op.Revision, OperatorSecret{o.shown(op), secret}), nil
}

// KeySecret is a new key with its secret.
type KeySecret struct {
	access.APIKey
	Key string `json:"key" doc:"The key itself, for the header Authorization: Bearer. It is shown this one time."`
}

// KeyFields are what of a key can be set.
type KeyFields struct {
	Scopes   []string   `json:"scopes,omitempty" maxItems:"64" doc:"What it may do: read, operate or admin, or one of them for one resource, as in events:read."`
	Expires  *time.Time `json:"expires,omitempty" doc:"0001-01-01T00:00:00Z = never."`
	Disabled *bool      `json:"disabled,omitempty"`
	Note     *string    `json:"note,omitempty" maxLength:"1024"`
}

func (f *KeyFields) change() (access.KeyChange, error) {
	for _, s := range f.Scopes {
		if err := access.CheckScope(s, serve.Resources()); err != nil {
			return access.KeyChange{}, huma.Error422UnprocessableEntity(err.Error())
		}
	}
	return access.KeyChange{Scopes: f.Scopes, Expires: f.Expires, Disabled: f.Disabled, Note: f.Note}, nil
}

func (o *accessOf) registerKeys(h huma.API) {
	listed := keySchema()
	huma.Register(h, serve.Operation("keys", http.MethodGet, "/keys", "access", "Keys by which programs use the API, by name"),
		func(_ context.Context, in *serve.ShortQuery) (*answer[serve.List[access.APIKey]], error) {
			return short(listed, o.Keys(), in)
		})
	create := serve.Operation("key-create", http.MethodPost, "/keys", "access", "Create a key", http.StatusConflict)
	create.DefaultStatus = http.StatusCreated
	huma.Register(h, create, func(ctx context.Context, in *struct {
		Body struct {
			Name string `json:"name" minLength:"1" maxLength:"100"`
			KeyFields
		}
	},
	) (*tagged[KeySecret], error) {
		c, err := in.Body.change()
		if err != nil {
			return nil, err
		}
		k, secret, err := o.CreateKey(ctx, in.Body.Name, c, serve.CallerOf(ctx))
		if err != nil {
			return nil, notIn(err)
		}
		return tag(k.Revision, KeySecret{k, secret}), nil
	})
	huma.Register(h, serve.Operation("key", http.MethodGet, "/keys/{name}", "access", "One key", http.StatusNotFound),
		func(_ context.Context, in *Named) (*tagged[access.APIKey], error) {
			k, err := o.Key(in.Name)
			if err != nil {
				return nil, notIn(err)
			}
			return tag(k.Revision, k), nil
		})
	huma.Register(h, serve.Operation("key-patch", http.MethodPatch, "/keys/{name}", "access", "Change some of a key; what runs with it ends",
		http.StatusNotFound, http.StatusPreconditionFailed),
		func(ctx context.Context, in *struct {
			Named
			Condition
			Body KeyFields
		},
		) (*tagged[access.APIKey], error) {
			r, err := conditionOf(&in.Condition)
			if err != nil {
				return nil, err
			}
			c, err := in.Body.change()
			if err != nil {
				return nil, err
			}
			k, err := o.ChangeKey(ctx, in.Name, c, r)
			if err != nil {
				return nil, notIn(err)
			}
			return tag(k.Revision, k), nil
		})
	huma.Register(h, serve.Deleted(serve.Operation("key-delete", http.MethodDelete, "/keys/{name}", "access", "Revoke a key, at once",
		http.StatusNotFound, http.StatusPreconditionFailed)),
		func(ctx context.Context, in *namedCondition) (*struct{}, error) {
			r, err := conditionOf(&in.Condition)
			if err != nil {
				return nil, err
			}
			return nil, notIn(o.DeleteKey(ctx, in.Name, r))
		})
}
