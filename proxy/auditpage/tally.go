package auditpage

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// kind is what denials are counted by.
type kind struct{ reason, rule, tool string }

func kindOf(e *audit.Entry) kind {
	return kind{e.Value(audit.Reason), e.Value(audit.Rule), e.Value(audit.Route)}
}

// tally counts denials.
type tally struct {
	counts map[kind]*Denial
	people map[kind]map[string]bool
}

func newTally() tally { return tally{map[kind]*Denial{}, map[kind]map[string]bool{}} }

// add counts n denials of a person, the last of them at that time; the name is empty for
// somebody who has not signed in.
func (t tally) add(k kind, person string, n int, last time.Time) {
	d := t.counts[k]
	if d == nil {
		d = &Denial{Reason: k.reason, Rule: k.rule, Tool: k.tool}
		t.counts[k], t.people[k] = d, map[string]bool{}
	}
	d.Count += n
	if last.After(d.Last) {
		d.Last = last
	}
	if person != "" {
		t.people[k][person] = true
	}
}

// kinds are up to limit of them, the most frequent first.
func (t tally) kinds(limit int) []Denial {
	all := make([]Denial, 0, len(t.counts))
	for k, d := range t.counts {
		d.People = len(t.people[k])
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b Denial) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Tool, b.Tool))
	})
	return all[:min(len(all), limit)]
}

// count counts n records of a decision.
func (s *Step) count(decision string, n int) {
	s.All += n
	if decision == decisionDeny {
		s.Denied += n
	}
}
