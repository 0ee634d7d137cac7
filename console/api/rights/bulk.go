package rights

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// maxBulk is how many users one bulk change may have.
const maxBulk = 250_000

// BulkUser is one line of a bulk change: the user that is to be, or its name and delete.
type BulkUser struct {
	Name   string `json:"name"`
	Delete bool   `json:"delete,omitempty"`
	UserFields
}

// BulkResult is what a bulk change did.
type BulkResult struct {
	Created int     `json:"created"`
	Changed int     `json:"changed"`
	Deleted int     `json:"deleted"`
	Seconds float64 `json:"seconds"`
}

// Secret is the credential of a new device.
type Secret struct {
	Name   string `json:"name"`
	Secret string `json:"secret"`
}

// bulkLine is a line of the answer to a bulk change: as line, and before the last one the secrets that were made.
type bulkLine struct {
	Secret *Secret `json:"secret,omitempty"`
	serve.Line[BulkResult]
}

func (o *accountsOf) registerBulk(h huma.API) {
	bulk := stored("users-bulk", http.MethodPost, "/users/bulk", "users", "Create, change and delete many users in one transaction",
		http.StatusUnprocessableEntity)
	bulk.Description = "The body is lines of JSON, one user each: what is given is set, what is not stays as it is; with delete it goes. " +
		"All of it is done, or nothing. Plain passwords take their time (some 30 ms each on one core); password_hash and generate do not."
	bulk.Responses = serve.Lines[bulkLine](h)
	bulk.MaxBodyBytes, bulk.BodyReadTimeout = serve.MaxBody, 5*time.Minute
	huma.Register(h, bulk, func(ctx context.Context, in *struct {
		RawBody []byte `contentType:"application/x-ndjson"`
	},
	) (*huma.StreamResponse, error) {
		list, err := bulkUsers(in.RawBody)
		if err != nil {
			return nil, err
		}
		return o.bulk(ctx, list, false)
	})

	devices := stored("devices-create", http.MethodPost, "/devices", "users", "Create devices, each with a random secret, in one transaction")
	devices.Responses = serve.Lines[bulkLine](h)
	huma.Register(h, devices, func(ctx context.Context, in *struct {
		Body struct {
			Names  []string `json:"names,omitempty" maxItems:"250000" doc:"The names; or a prefix and how many."`
			Prefix string   `json:"prefix,omitempty" maxLength:"200"`
			Count  int      `json:"count,omitempty" minimum:"1" maximum:"250000"`
			Start  int      `json:"start,omitempty" minimum:"0" doc:"The first number, 1 by default."`
			Groups []string `json:"groups,omitempty" maxItems:"64"`
			Own    bool     `json:"own_client_id,omitempty" doc:"Each may only connect with its name as client id."`
			Note   string   `json:"note,omitempty" maxLength:"1024"`
		}
	},
	) (*huma.StreamResponse, error) {
		b := &in.Body
		names := b.Names
		if (len(names) == 0) == (b.Count == 0) {
			return nil, huma.Error422UnprocessableEntity("give names, or a prefix and a count")
		}
		if len(names) == 0 {
			names = numbered(b.Prefix, max(b.Start, 1), b.Count)
		}
		list := make([]BulkUser, len(names))
		for i, name := range names {
			list[i] = BulkUser{Name: name, UserFields: UserFields{Groups: &b.Groups, Note: &b.Note, Credentials: Credentials{Generate: true}}}
			if b.Own {
				list[i].ClientID = &list[i].Name
			}
		}
		return o.bulk(ctx, list, true)
	})
}

// numbered makes names of one length, so that they sort: press-001 to press-250.
func numbered(prefix string, start, count int) []string {
	names := make([]string, count)
	width := len(fmt.Sprint(start + count - 1))
	for i := range names {
		names[i] = fmt.Sprintf("%s%0*d", prefix, width, start+i)
	}
	return names
}

// bulkUsers reads the lines of a bulk change.
func bulkUsers(text []byte) (list []BulkUser, err error) {
	for n, row := range bytes.Split(text, []byte("\n")) {
		if len(bytes.TrimSpace(row)) == 0 {
			continue
		}
		in := json.NewDecoder(bytes.NewReader(row))
		in.DisallowUnknownFields()
		var u BulkUser
		if err := in.Decode(&u); err != nil {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("line %d: %s", n+1, strings.TrimPrefix(err.Error(), "json: ")))
		}
		if in.More() {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("line %d: more than one user", n+1))
		}
		if list = append(list, u); len(list) > maxBulk {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("more than %d users; give them in parts", maxBulk))
		}
	}
	if len(list) == 0 {
		return nil, huma.Error422UnprocessableEntity("no users in it")
	}
	return list, nil
}

// bulk makes the changes and tells how far it is. Nothing of it is there before all of it is, and so are the secrets.
func (o *accountsOf) bulk(ctx context.Context, list []BulkUser, onlyNew bool) (*huma.StreamResponse, error) {
	if _, none := o.Accounts.(nowhere); none {
		return nil, errNowhere()
	}
	ctx, end, err := o.options.Begin(ctx, "bulk change")
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer end()
		w := serve.NewStream(hc, "application/x-ndjson")
		stop := w.Tell(serve.Every)
		began := time.Now()
		secrets, result, err := o.make(ctx, list, onlyNew, w.Progress)
		stop()
		if err != nil {
			o.options.Logger.Warn("a bulk change failed", "users", len(list), "error", err)
			w.Send(bulkLine{Line: serve.Line[BulkResult]{Error: err.Error()}})
			return
		}
		result.Seconds = time.Since(began).Seconds()
		o.options.Logger.Info("a bulk change", "created", result.Created, "changed", result.Changed, "deleted", result.Deleted, "seconds", result.Seconds)
		for i := range secrets {
			w.Append(bulkLine{Secret: &secrets[i]})
		}
		w.Send(bulkLine{Line: serve.Line[BulkResult]{Result: &result}})
	}}, nil
}

// make prepares the changes, a quarter of the work as progress counts it, and makes them.
func (o *accountsOf) make(ctx context.Context, list []BulkUser, onlyNew bool, p func(done, total int64)) (secrets []Secret, r BulkResult, err error) {
	changes := make([]accounts.Change, len(list))
	total := int64(len(list))
	seen := make(map[string]bool, len(list))
	for i := range list {
		u := &list[i]
		if seen[u.Name] {
			return nil, r, fmt.Errorf("user %q is there twice", u.Name)
		}
		seen[u.Name] = true
		var secret string
		if changes[i], secret, err = o.prepare(ctx, u, onlyNew); err != nil {
			return nil, r, fmt.Errorf("user %q (number %d): %w", u.Name, i+1, err)
		}
		if secret != "" {
			secrets = append(secrets, Secret{u.Name, secret})
		}
		switch {
		case u.Delete:
			r.Deleted++
		case changes[i].If == accounts.Absent:
			r.Created++
		default:
			r.Changed++
		}
		p(int64(i+1)/4, total)
	}
	err = o.Apply(ctx, changes, func(done int) { p(total/4+int64(done)*3/4, total) })
	return secrets, r, err
}

func (o *accountsOf) prepare(ctx context.Context, b *BulkUser, onlyNew bool) (c accounts.Change, secret string, err error) {
	if err := ctx.Err(); err != nil {
		return c, "", err
	}
	u := accounts.User{Name: b.Name}
	if b.Delete {
		return accounts.Change{User: &u, Delete: true}, "", nil
	}
	c = accounts.Change{User: &u, If: accounts.Absent}
	if !onlyNew {
		switch was, err := o.User(ctx, b.Name); {
		case err == nil:
			u, c.If = was, was.Revision
		case !errors.Is(err, accounts.ErrNotFound):
			return c, "", err
		}
	}
	secret, err = o.set(ctx, &u, &b.UserFields)
	return c, secret, err
}
