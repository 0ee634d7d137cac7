package api

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/filter"
	"github.com/sapwood-mqtt/sapwood/console/api/payload"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Retained are the broker's retained messages. Messages are not to be changed.
type Retained interface {
	// Scan gives those whose topics match a filter to each, until that returns false.
	Scan(ctx context.Context, filter string, each func(*mqtt.Message) bool) error
	// Get is that of one topic, nil = none.
	Get(name string) *mqtt.Message
	// Delete removes those that are still there, and tells how many.
	Delete(ctx context.Context, list []*mqtt.Message) (int, error)
	// Snapshots keep what is deleted; nil = nothing does.
	Snapshots() Snapshots
}

// Snapshots keep what was deleted of the retained messages.
type Snapshots interface {
	Keep(by, filter string, list []*mqtt.Message) (Snapshot, error)
	List() ([]Snapshot, error)
	// Restore puts a snapshot back; false = there is none.
	Restore(ctx context.Context, id string) (Restoration, bool, error)
}

// Snapshot is what was deleted at once.
type Snapshot struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	By       string    `json:"by,omitempty" doc:"Who deleted."`
	Filter   string    `json:"filter" doc:"What was deleted."`
	Messages int       `json:"messages"`
	Bytes    int64     `json:"bytes" doc:"Payloads."`
	File     int64     `json:"file_bytes"`
}

// Restoration is what became of the messages of a snapshot.
type Restoration struct {
	Restored int `json:"restored"`
	Newer    int `json:"newer" doc:"Their topic has another message meanwhile, which stays."`
	Expired  int `json:"expired" doc:"Their expiry has passed meanwhile."`
	Refused  int `json:"refused" doc:"The limits on retained messages do not allow them."`
}

// RetainedRow is one retained message.
type RetainedRow struct {
	Topic     string        `json:"topic"`
	Size      int           `json:"size" doc:"Of its payload."`
	QoS       int           `json:"qos"`
	Publisher string        `json:"publisher,omitempty" doc:"Absent = the broker itself."`
	At        *time.Time    `json:"at,omitempty" doc:"Retained since; absent = it was before the broker noted it."`
	Expires   *time.Time    `json:"expires,omitempty"`
	Payload   payload.Shown `json:"payload"`
}

func atOf(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	return since(time.UnixMilli(ms))
}

func retainedRow(m *mqtt.Message, most int) RetainedRow {
	return RetainedRow{
		Topic: string(m.Topic), Size: len(m.Payload), QoS: int(m.QoS), Publisher: m.Publisher, At: atOf(m.At), Expires: atOf(m.Expires),
		Payload: payload.Show(string(m.Topic), m.Payload, most),
	}
}

// retainedSchema are the fields of lists of retained messages.
func retainedSchema() *filter.Schema[*mqtt.Message] {
	type m = *mqtt.Message
	type f = filter.Field[m]
	return filter.New(f{Append: func(b []byte, v *m) []byte { return append(b, (*v).Topic...) }},
		f{Name: "topic", Text: func(v *m) string { return string((*v).Topic) }, Word: true},
		f{Name: "publisher", Text: func(v *m) string { return (*v).Publisher }, Word: true},
		f{Name: "size", Kind: filter.Number, Number: func(v *m) float64 { return float64(len((*v).Payload)) }},
		f{Name: "qos", Kind: filter.Number, Number: func(v *m) float64 { return float64((*v).QoS) }},
		f{Name: "at", Kind: filter.Time, Number: func(v *m) float64 { return float64((*v).At) / 1000 }},
		f{Name: "expires", Kind: filter.Time, Number: func(v *m) float64 { return float64((*v).Expires) / 1000 }},
	)
}

// RetainedChoice says which retained messages are meant.
type RetainedChoice struct {
	Filter    string  `json:"filter" minLength:"1" maxLength:"65535" doc:"A topic filter." example:"plant/+/state"`
	OlderThan float64 `json:"older_than_seconds,omitempty" minimum:"0" maximum:"3155760000" doc:"Retained longer ago than this; those of an unknown age are not."`
	Publisher string  `json:"publisher,omitempty" doc:"A client id; * stands for any characters."`
}

// matches makes of a choice a question about each message.
func (c *RetainedChoice) matches(now time.Time) func(*mqtt.Message) bool {
	before := now.Add(-time.Duration(c.OlderThan * float64(time.Second))).UnixMilli()
	return func(m *mqtt.Message) bool {
		return (c.OlderThan == 0 || m.At != 0 && m.At < before) && (c.Publisher == "" || topic.Like(c.Publisher, m.Publisher)) && (m.Expires == 0 || m.Expires > now.UnixMilli())
	}
}

// collect are the messages that are meant.
func (c *RetainedChoice) collect(ctx context.Context, r Retained, also func(*mqtt.Message) bool) (list []*mqtt.Message, err error) {
	if r == nil {
		return nil, huma.Error409Conflict("this process shows no retained messages")
	}
	if err := topic.ValidFilter(c.Filter); err != nil {
		return nil, huma.Error422UnprocessableEntity("filter: " + err.Error())
	}
	ok := c.matches(time.Now())
	err = r.Scan(ctx, c.Filter, func(m *mqtt.Message) bool {
		if ok(m) && (also == nil || also(m)) {
			list = append(list, m)
		}
		return true
	})
	return list, serve.Failure(err)
}

// retainedOf is the part of the API that is about retained messages.
type retainedOf struct {
	Retained
	schema *filter.Schema[*mqtt.Message]
}

func registerRetained(h huma.API, r Retained) {
	o := &retainedOf{r, retainedSchema()}
	huma.Register(h, serve.Operation("retained", http.MethodGet, "/retained", "retained", "Retained messages, a page at a time", http.StatusConflict), o.list)
	huma.Register(h, serve.Operation("retained-message", http.MethodGet, "/retained/message", "retained", "The retained message of one topic", http.StatusNotFound, http.StatusConflict),
		func(_ context.Context, in *struct {
			Topic   string `query:"topic" required:"true" maxLength:"65535"`
			Payload int    `query:"payload_bytes" minimum:"0" maximum:"1048576" default:"65536"`
		},
		) (*answer[RetainedRow], error) {
			if o.Retained == nil {
				return nil, serve.Missing("retained message of", in.Topic)
			}
			m := o.Get(in.Topic)
			if m == nil || m.Expires != 0 && m.Expires <= time.Now().UnixMilli() {
				return nil, serve.Missing("retained message of", in.Topic)
			}
			return &answer[RetainedRow]{retainedRow(m, in.Payload)}, nil
		})
	huma.Register(h, serve.Operation("retained-delete", http.MethodPost, "/retained/delete", "retained",
		"Delete retained messages: first with preview, then with the number that it told; what is deleted is kept as a snapshot", http.StatusConflict), o.remove)
	o.registerSnapshots(h)
}

// retainedQuery is a request for a list.
type retainedQuery struct {
	Filter    string `query:"filter" maxLength:"65535" default:"#" doc:"A topic filter. # does not match what begins with $."`
	Where     string `query:"where" maxLength:"4096" doc:"Terms about topic, publisher, size, qos, at, expires, as filter of other lists." example:"size>1Ki at>1d"`
	OlderThan string `query:"older_than" maxLength:"32" doc:"An age, such as 30m or 7d."`
	Publisher string `query:"publisher" maxLength:"65535" doc:"A client id; * stands for any characters."`
	Contains  string `query:"payload" maxLength:"1024" doc:"Only messages whose payload has these bytes in it."`
	Sort      string `query:"sort" maxLength:"256"`
	Limit     int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor    string `query:"cursor" maxLength:"8192"`
	Skip      int    `query:"skip" minimum:"0" maximum:"10000000" doc:"Leave so many out from the beginning; not with cursor."`
	Payload   int    `query:"payload_bytes" minimum:"0" maximum:"65536" default:"256" doc:"How much of each payload's text is shown."`
}

func (o *retainedOf) list(ctx context.Context, in *retainedQuery) (*answer[serve.List[RetainedRow]], error) {
	where := in.Where
	if in.OlderThan != "" {
		where = strings.TrimSpace(where + " at>" + in.OlderThan)
	}
	c := RetainedChoice{Filter: in.Filter, Publisher: in.Publisher}
	word := []byte(in.Contains)
	all, err := c.collect(ctx, o.Retained, func(m *mqtt.Message) bool { return len(word) == 0 || bytes.Contains(m.Payload, word) })
	if err != nil {
		return nil, err
	}
	q := ListQuery{Filter: where, Sort: in.Sort, Limit: in.Limit, Cursor: in.Cursor, Skip: in.Skip}
	return page(o.schema, each(all), &q, func(m **mqtt.Message) RetainedRow { return retainedRow(*m, in.Payload) })
}

// Deletion is what is, or would be, deleted.
type Deletion struct {
	Matched  int       `json:"matched"`
	Bytes    int64     `json:"bytes" doc:"Payloads."`
	Sample   []string  `json:"sample" doc:"Some of the topics."`
	Deleted  int       `json:"deleted" doc:"0 with preview."`
	Snapshot *Snapshot `json:"snapshot,omitempty" doc:"What restores them."`
}

// sampled is how many topics a preview names.
const sampled = 10

func (o *retainedOf) remove(ctx context.Context, in *struct {
	Body struct {
		RetainedChoice
		Confirmed
	}
},
) (*answer[Deletion], error) {
	list, err := in.Body.collect(ctx, o.Retained, func(m *mqtt.Message) bool { return !bytes.HasPrefix(m.Topic, []byte("$SYS/")) })
	if err != nil {
		return nil, err
	}
	d := Deletion{Matched: len(list), Sample: []string{}}
	for _, m := range list {
		d.Bytes += int64(len(m.Payload))
		if len(d.Sample) < sampled {
			d.Sample = append(d.Sample, string(m.Topic))
		}
	}
	if do, err := in.Body.Go(ctx, d.Matched); err != nil || !do || d.Matched == 0 {
		return &answer[Deletion]{d}, err
	}
	if keep := o.Snapshots(); keep != nil {
		s, err := keep.Keep(serve.CallerOf(ctx), in.Body.Filter, list)
		if err != nil {
			return nil, huma.Error500InternalServerError("nothing was deleted: " + err.Error())
		}
		d.Snapshot = &s
	}
	d.Deleted, err = o.Delete(ctx, list)
	return &answer[Deletion]{d}, serve.Failure(err)
}

func (o *retainedOf) registerSnapshots(h huma.API) {
	none := func() error {
		if o.Retained == nil || o.Snapshots() == nil {
			return huma.Error409Conflict("nothing is kept on disk: there are no snapshots")
		}
		return nil
	}
	type snapshots struct {
		Items []Snapshot `json:"items"`
	}
	huma.Register(h, serve.Operation("retained-snapshots", http.MethodGet, "/retained/snapshots", "retained", "What was deleted and can be restored, the newest first", http.StatusConflict),
		func(context.Context, *struct{}) (*answer[snapshots], error) {
			if err := none(); err != nil {
				return nil, err
			}
			list, err := o.Snapshots().List()
			if list == nil {
				list = []Snapshot{}
			}
			return &answer[snapshots]{snapshots{list}}, serve.Failure(err)
		})
	huma.Register(h, serve.Operation("retained-restore", http.MethodPost, "/retained/snapshots/{id}/restore", "retained",
		"Put back what was deleted, byte by byte, with its time and its expiry, where the topic has no newer message", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *struct {
			ID string `path:"id" maxLength:"64"`
		},
		) (*answer[Restoration], error) {
			if err := none(); err != nil {
				return nil, err
			}
			r, ok, err := o.Snapshots().Restore(ctx, in.ID)
			if err == nil && !ok {
				err = serve.Missing("snapshot", in.ID)
			}
			return &answer[Restoration]{r}, serve.Failure(err)
		})
}
