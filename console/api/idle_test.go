package api

import "testing"

// TestMadeWhenAsked: an API that nobody asks has made nothing of what it serves; the first who asks gets all of it.
func TestMadeWhenAsked(t *testing.T) {
	made := func(f func(*API)) float64 {
		return testing.AllocsPerRun(1, func() { f(New(Options[struct{}, struct{}, struct{}]{})) })
	}
	idle := made(func(*API) {})
	asked := made(func(a *API) {
		if _, err := a.OpenAPI(); err != nil {
			t.Error(err)
		}
	})
	if idle > 1000 || asked < 100*idle {
		t.Errorf("%.0f allocations before anybody asks, %.0f then", idle, asked)
	}
}
