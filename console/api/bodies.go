package api

import (
	"iter"
	"maps"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// operationsOf gives the operations of a path, by method.
func operationsOf(item *huma.PathItem) iter.Seq2[string, *huma.Operation] {
	all := map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPut: item.Put, http.MethodPost: item.Post, http.MethodDelete: item.Delete, http.MethodPatch: item.Patch,
	}
	maps.DeleteFunc(all, func(_ string, op *huma.Operation) bool { return op == nil })
	return maps.All(all)
}

// describeBody writes into the description of an operation how it answers a body that it cannot use: what comes too slowly, is too large, or
// cannot be read; and of one that is taken apart here, rather than by the operation, also of another kind, or not as its schema says.
func describeBody(op *huma.Operation) {
	if op.RequestBody == nil {
		return
	}
	bad := []int{http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge}
	if op.RequestBody.Content["application/json"] != nil {
		bad = append(bad, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity)
	}
	for _, status := range bad {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: op.Responses["500"].Content}
	}
}
