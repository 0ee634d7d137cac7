// Package serve is how operations of the API are served, whatever they are about: who may call them, what is written down,
// answers that are streams, errors. It knows no operation.
package serve

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
)

// Prefix is what every path begins with.
const Prefix = "/api/v1"

// MaxBody is the greatest body of a request, in bytes: 250,000 users of 256 bytes fit.
const MaxBody = 64 << 20

// Operation describes an operation; path is what follows Prefix, errors what it may answer beside Refusals.
func Operation(id, method, path, tag, summary string, errors ...int) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: Prefix + path, Tags: []string{tag}, Summary: summary,
		Errors: append(Refusals(), errors...),
	}
}

// Deleted describes an operation whose success has no body.
func Deleted(o huma.Operation) huma.Operation {
	o.DefaultStatus = http.StatusNoContent
	return o
}

// Refusals are what every operation may answer; 400 if a proxy that is believed has put no address into X-Forwarded-For.
func Refusals() []int {
	return []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable}
}

// Failure is an error as HTTP has it; nil stays nil.
func Failure(err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, accounts.ErrExists), errors.Is(err, accounts.ErrInUse):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, accounts.ErrRevision):
		return huma.Error412PreconditionFailed(err.Error() + "; read it again")
	case errors.Is(err, accounts.ErrInvalid), errors.Is(err, accounts.ErrNoGroup):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, accounts.ErrClosed), errors.Is(err, phc.ErrBusy):
		return huma.Error503ServiceUnavailable(err.Error())
	}
	var status huma.StatusError
	if errors.As(err, &status) {
		return err
	}
	return huma.Error500InternalServerError(err.Error())
}

// Missing says what is not there.
func Missing(what, name string) error {
	return huma.Error404NotFound(fmt.Sprintf("there is no %s %q", what, name))
}
