package header

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGroupsComeBackWhateverJoinsThem has a gateway tell a sidecar of groups with every sign
// in their names that joins groups somewhere.
func TestGroupsComeBackWhateverJoinsThem(t *testing.T) {
	for _, separator := range Separators() {
		for _, groups := range [][]string{
			nil, {"staff"}, {"staff,admins"}, {"staff|admins"}, {"staff;admins", "ops"}, {"a,b|c;d", "100%", "J\u00f6rgs|%2C", "CN=Staff,DC=example"},
		} {
			for _, values := range []Values{PercentEncode, UTF8} {
				template, err := NewTemplate(Format{AllGroups: true, Values: values, Profiles: []Profile{{User: User, Groups: Groups, Separator: separator}}})
				if err != nil {
					t.Fatal(err)
				}
				id := Identity{User: "alice", Groups: groups}
				card, err := template.Card(id)
				if err != nil {
					t.Fatal(err)
				}
				told := http.Header{}
				card.Set(told)
				if diff := cmp.Diff(id, Told(told)); diff != "" {
					t.Errorf("groups %q joined by %q, as %q: %s", groups, separator, told[Groups], diff)
				}
			}
		}
	}
}
