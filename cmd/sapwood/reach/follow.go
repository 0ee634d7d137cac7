package reach

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
)

// Event is a server-sent event.
type Event struct {
	ID, Name string
	Data     []byte
}

// maxEvent bounds one line of a stream.
const maxEvent = 16 << 20

// Follow gives each event of a live stream to f, until f or the stream ends. after, unless "", is the id of the last one that was seen.
func (r *Broker) Follow(ctx context.Context, path, after string, f func(Event) error) error {
	header := []string{"Accept", "text/event-stream"}
	if after != "" {
		header = append(header, "Last-Event-ID", after)
	}
	body, err := r.send(ctx, http.MethodGet, path, nil, "", header...)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	var e Event
	for lines.Scan() {
		field, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			e.ID = string(value)
		case "event":
			e.Name = string(value)
		case "data":
			e.Data = append(e.Data, value...)
		case "":
			if len(e.Data) > 0 {
				if err := f(e); err != nil {
					return err
				}
			}
			e = Event{}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: the stream broke off: %w", r.url, err)
	}
	return fmt.Errorf("%s ended the stream", r.url)
}
