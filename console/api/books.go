package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Books is what becomes of messages: the broker's books as the ledger carries them over restarts.
type Books interface {
	Books(ctx context.Context) (Balance, error)
	// ClientBooks are those of one client; ErrNoClient when there is none.
	ClientBooks(ctx context.Context, id string) (ClientBooks, error)
}

// ErrNoClient says that there is no such client id.
var ErrNoClient = errors.New("no such client")

// Line is one line of the books.
type Line struct {
	Name  string `json:"name"`
	Side  string `json:"side" enum:"in,out,stock,beside" doc:"The sum of in is that of out and of stock; beside stands beside the law."`
	Of    string `json:"of" enum:"messages,copies" doc:"A copy is a message meant for one receiver."`
	Count int64  `json:"count"`
	Text  string `json:"text" doc:"What is counted."`
}

// Balance is the books.
type Balance struct {
	Balanced   bool             `json:"balanced"`
	Imbalance  int64            `json:"imbalance" doc:"Copies and messages that are not accounted for."`
	Imbalances uint64           `json:"imbalances" doc:"Found since the start."`
	Findings   []string         `json:"findings,omitempty" doc:"Those that last."`
	At         time.Time        `json:"at"`
	Checked    time.Time        `json:"checked" doc:"When it was last looked whether they balance."`
	Since      time.Time        `json:"since" doc:"The first start that is in them."`
	Lines      []Line           `json:"lines"`
	Clients    BalanceOfClients `json:"clients"`
	ByReason   map[string]int64 `json:"by_reason" doc:"Copies dropped, and messages denied and refused, by reason."`
}

// BalanceOfClients tells about the books of each client.
type BalanceOfClients struct {
	Checked int `json:"checked" doc:"Clients whose own books were looked at last."`
}

// ClientBooks are those of one client since the broker, or its session, started.
type ClientBooks struct {
	ID        string           `json:"id"`
	Balanced  bool             `json:"balanced"`
	Imbalance int64            `json:"imbalance"`
	Lines     []Line           `json:"lines"`
	ByReason  map[string]int64 `json:"by_reason"`
	In        ClientFlow       `json:"in" doc:"Published by it."`
	Out       ClientFlow       `json:"out" doc:"Written to it."`
	Resent    uint64           `json:"resent" doc:"Of those written to it, again after it came back."`
}

// ClientFlow is what goes one way.
type ClientFlow struct {
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes" doc:"Of payloads."`
	QoS      [3]uint64 `json:"qos"`
	Rate     float32   `json:"rate" doc:"Per second, in the last whole five seconds."`
	Rate1    float32   `json:"rate1"`
	Rate5    float32   `json:"rate5"`
	Rate15   float32   `json:"rate15"`
}

// noBooks are those of a process that keeps none.
type noBooks struct{}

func (noBooks) Books(context.Context) (Balance, error) {
	return Balance{}, huma.Error409Conflict("this process keeps no books")
}

func (noBooks) ClientBooks(context.Context, string) (ClientBooks, error) {
	return ClientBooks{}, huma.Error409Conflict("this process keeps no books")
}

// registerBooks adds the books; nil = there are none.
func registerBooks(h huma.API, b Books) {
	if b == nil {
		b = noBooks{}
	}
	huma.Register(h, serve.Operation("books", http.MethodGet, "/books", "books", "What became of all messages, line by line, and whether it adds up", http.StatusConflict),
		func(ctx context.Context, _ *struct{}) (*answer[Balance], error) {
			r, err := b.Books(ctx)
			return &answer[Balance]{r}, err
		})
	huma.Register(h, serve.Operation("books-client", http.MethodGet, "/books/clients/{id}", "books", "What became of the messages for one client, and what it published", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		},
		) (*answer[ClientBooks], error) {
			r, err := b.ClientBooks(ctx, in.ID)
			if errors.Is(err, ErrNoClient) {
				return nil, huma.Error404NotFound(fmt.Sprintf("there is no client %q; if it has had a session, the totals of that are in the event of its end: GET /events?kind=session_ended,disconnected&client=…", in.ID))
			}
			return &answer[ClientBooks]{r}, err
		})
}
