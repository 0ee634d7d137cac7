package access

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"
)

// Entry is one entry of the audit log: what somebody did, or tried to do, by the API.
type Entry struct {
	ID        int64           `json:"id" doc:"Grows with time."`
	At        time.Time       `json:"at"`
	By        string          `json:"by,omitempty" doc:"The name of the operator or of the key; absent for commands on the same machine, and for who was not let in."`
	Kind      Kind            `json:"kind,omitempty" enum:"operator,key,local" doc:"What by names; absent for who was not let in."`
	From      string          `json:"from,omitempty" doc:"The address."`
	Operation string          `json:"operation" doc:"As the description of the API calls it."`
	Target    string          `json:"target,omitempty" doc:"The path behind /api/v1."`
	Outcome   string          `json:"outcome" enum:"done,refused,failed"`
	Status    int             `json:"status" doc:"Of HTTP."`
	Asked     json.RawMessage `json:"asked,omitempty" doc:"What was sent; secrets are ***."`
	Before    json.RawMessage `json:"before,omitempty" doc:"What was there; secrets are ***."`
	After     json.RawMessage `json:"after,omitempty" doc:"What was there then; secrets are ***."`
	More      int             `json:"more,omitempty" doc:"How many more of the same there were since the last entry about it: what happens often is written once a minute."`
}

// The outcomes.
const (
	Done    = "done"
	Refused = "refused" // it was not allowed, or asked for what cannot be
	Failed  = "failed"
)

// Log is the audit log. Its methods may be called from any goroutine.
type Log struct {
	store   Store
	bounds  Auditing
	written atomic.Uint64
}

// trimEvery is after how many entries the log is brought back to its bounds.
const trimEvery = 500

// Audit keeps an entry and fills in its id. The caller has to tell somebody if that fails.
func (l *Log) Audit(ctx context.Context, e *Entry) error {
	ctx = context.WithoutCancel(ctx) // what was done is done, whether or not somebody waits for the answer
	body, err := json.Marshal(e)
	if err == nil {
		e.ID, err = l.store.AppendAudit(ctx, e.At, body)
	}
	if err == nil && l.written.Add(1)%trimEvery == 0 {
		err = l.trim(ctx)
	}
	if err != nil {
		return fmt.Errorf("keep the audit entry: %w", err)
	}
	return nil
}

// trim brings the audit log back to its bounds.
func (l *Log) trim(ctx context.Context) error {
	var older time.Time
	if l.bounds.Age > 0 {
		older = time.Now().Add(-l.bounds.Age)
	}
	return l.store.TrimAudit(ctx, l.bounds.Entries, older)
}

// Entries are the entries that a question is about, the newest first: with ids below before (0 = all), at most limit of them.
// more tells that there may be others behind the last one.
func (l *Log) Entries(ctx context.Context, before int64, limit int, wanted func(*Entry) bool) (found []Entry, more bool, err error) {
	var broken error
	err = l.store.Audit(ctx, before, func(id int64, body []byte) bool {
		var e Entry
		if broken = json.Unmarshal(body, &e); broken != nil {
			return false
		}
		e.ID = id
		if !wanted(&e) {
			return ctx.Err() == nil
		}
		if len(found) == limit {
			more = true
			return false
		}
		found = append(found, e)
		return true
	})
	if err == nil {
		err = broken
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the audit log: %w", err)
	}
	return found, more, ctx.Err()
}
