package api

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Confirmed is embedded in the body of a request that acts on many at once: first its preview tells how many, then the same request is
// sent with that number. A script that matches more than was looked at does nothing.
type Confirmed struct {
	Preview bool `json:"preview,omitempty" doc:"Only tell how many it would be about; nothing is done."`
	Confirm *int `json:"confirm,omitempty" minimum:"0" doc:"How many the preview told. If there are others by now, nothing is done."`
}

// Go judges a request that would act on count: false = it only asks. The error, 409, tells the count that has to be confirmed.
func (c Confirmed) Go(ctx context.Context, count int) (bool, error) {
	switch {
	case c.Preview:
		serve.OnlyLooked(ctx)
		return false, nil
	case c.Confirm == nil:
		return false, huma.Error409Conflict(fmt.Sprintf("this is about %d at once: send it again with confirm = %d", count, count))
	case *c.Confirm != count:
		return false, huma.Error409Conflict(fmt.Sprintf("it is about %d by now, and %d were confirmed; nothing was done: look again", count, *c.Confirm))
	}
	return true, nil
}
