package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/bench/load"
)

// TestBenchKnowsEveryScenario: the tag cannot be computed, so this holds it to the list.
func TestBenchKnowsEveryScenario(t *testing.T) {
	var names []string
	for _, s := range load.Scenarios() {
		names = append(names, s.Name)
	}
	field, _ := reflect.TypeFor[benchCmd]().FieldByName("Scenario")
	if got, want := field.Tag.Get("enum"), strings.Join(names, ","); got != want {
		t.Errorf("the scenarios of the command are %s, those of bench/load %s", got, want)
	}
}
