package rights

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// AuditQuery asks for entries of the audit log; what is not given does not narrow.
type AuditQuery struct {
	By        string      `query:"by" doc:"The name of the operator or key."`
	Kind      access.Kind `query:"kind" enum:"operator,key,local"`
	Operation string      `query:"operation" doc:"As the description of the API calls it."`
	Target    string      `query:"target" doc:"Part of the path."`
	Outcome   string      `query:"outcome" enum:"done,refused,failed"`
	From      string      `query:"from" doc:"The address."`
	Since     time.Time   `query:"since"`
	Until     time.Time   `query:"until"`
	Limit     int         `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor    string      `query:"cursor" doc:"What next was."`
}

// wants tells whether an entry is asked for.
func (q *AuditQuery) wants(e *access.Entry) bool {
	return (q.By == "" || q.By == e.By) && (q.Kind == "" || q.Kind == e.Kind) && (q.Operation == "" || q.Operation == e.Operation) &&
		(q.Outcome == "" || q.Outcome == e.Outcome) && (q.From == "" || q.From == e.From) && strings.Contains(e.Target, q.Target) &&
		(q.Since.IsZero() || !e.At.Before(q.Since)) && (q.Until.IsZero() || e.At.Before(q.Until))
}

// AuditPage is a part of the audit log.
type AuditPage struct {
	Items []access.Entry `json:"items" doc:"The newest first."`
	Next  string         `json:"next,omitempty" doc:"Give it as cursor to go on; absent at the end."`
}

func (o *accessOf) registerAudit(h huma.API) {
	huma.Register(h, serve.Operation("audit", http.MethodGet, "/audit", "access", "What was changed by the API: who, what, before, after, from where"),
		func(ctx context.Context, in *AuditQuery) (*answer[AuditPage], error) {
			var before int64
			if in.Cursor != "" {
				var err error
				if before, err = strconv.ParseInt(in.Cursor, 10, 64); err != nil || before <= 0 {
					return nil, huma.Error422UnprocessableEntity("cursor is none that was given")
				}
			}
			found, more, err := o.Entries(ctx, before, in.Limit, in.wants)
			if err != nil {
				return nil, serve.Failure(err)
			}
			page := AuditPage{Items: append([]access.Entry{}, found...)}
			if more {
				page.Next = strconv.FormatInt(found[len(found)-1].ID, 10)
			}
			return &answer[AuditPage]{page}, nil
		})
}
