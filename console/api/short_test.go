package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/console/api/rights"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Lists that are short as a rule have pages, filters and orders as every other.
func TestShortLists(t *testing.T) {
	d := atDesk(t, rights.Policy{Bans: &floor{}})
	for i := range 5 {
		d.ask("PUT", fmt.Sprintf("/groups/g%d", i), fmt.Sprintf(`{"note":"hall %d"}`, i%2), 200)
		d.ask("PUT", fmt.Sprintf("/rules/g%d", i), fmt.Sprintf(`{"allow":["publish"],"topics":["hall/%d"],"priority":%d}`, i%2, i), 200)
		d.ask("POST", "/bans", fmt.Sprintf(`{"subject":"client","value":"g%d","reason":"hall %d"}`, i, i%2), 200)
		d.ask("POST", "/operators", fmt.Sprintf(`{"name":"g%d","note":"hall %d","generate":true}`, i, i%2), 201)
		d.ask("POST", "/keys", fmt.Sprintf(`{"name":"g%d","scopes":["read"],"note":"hall %d"}`, i, i%2), 201)
	}
	type item struct{ Name, ID, Value string }
	get := func(path string, q url.Values) (l serve.List[item], names []string) {
		t.Helper()
		_, text := d.ask("GET", path+"?"+q.Encode(), "", 200)
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(path, q, err, text)
		}
		for _, x := range l.Items {
			names = append(names, cmp.Or(x.ID, x.Name, x.Value))
		}
		return l, names
	}
	for path, few := range map[string]string{"/groups": "note:*1", "/rules": "topics:hall/1", "/bans": "reason:*1", "/operators": "note:*1", "/keys": "note:*1"} {
		sort, all := "name", []string{"g0", "g1", "g2", "g3", "g4"}
		switch path {
		case "/rules":
			sort = "id"
		case "/bans":
			sort = "value"
		}
		l, names := get(path, url.Values{"filter": {few}, "sort": {"-" + sort}})
		if want := []string{"g3", "g1"}; !slices.Equal(names, want) || l.Matched != 2 || l.Total < 5 || l.Next != "" {
			t.Errorf("%s: %+v", path, l)
		}
		var walked []string
		q := url.Values{"filter": {sort + ":g*"}, "limit": {"2"}}
		for pages := 1; ; pages++ {
			l, names := get(path, q)
			walked = append(walked, names...)
			if l.Next == "" {
				if pages != 3 {
					t.Errorf("%s: %d pages", path, pages)
				}
				break
			}
			q.Set("cursor", l.Next)
		}
		if !slices.Equal(walked, all) {
			t.Errorf("%s: %v", path, walked)
		}
		q.Del("filter")
		d.ask("GET", path+"?"+q.Encode(), "", 422, "another filter or another order")
		d.ask("GET", path+"?sort=colour", "", 422, "there is no field", sort)
		d.ask("GET", path+"?limit=1001", "", 422)
		_, text := d.ask("GET", path, "", 200)
		if !strings.HasPrefix(text, `{"items":[`) || !strings.Contains(text, "g4") {
			t.Errorf("%s: %s", path, text)
		}
	}
}
