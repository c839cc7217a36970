package session

import (
	"testing"
	"time"
)

func TestCountsOfWhatIsRemembered(t *testing.T) {
	r, until := NewRevocations(time.Now), time.Now().Add(time.Hour)
	check := func(when string, want Counts) {
		t.Helper()
		if got := r.Counts(); got != want {
			t.Errorf("%s: %+v, expected %+v", when, got, want)
		}
	}
	check("at first", Counts{})
	one, other := at(time.Now().Add(-time.Minute)), at(time.Now().Add(-time.Minute))
	other.Subject, other.Index = "t", "j"
	var releases []func()
	for _, s := range []*State{one, one, one, other} {
		_, release := r.Bind(t.Context(), Use{Host: toolA}, s)
		releases = append(releases, release)
	}
	check("four connections of two", Counts{Connected: 2, Connections: 4})
	releases[1]()
	check("one of them has ended", Counts{Connected: 2, Connections: 3})
	r.Revoke(other, until)
	check("one has signed out", Counts{Connected: 1, Connections: 2, Revoked: 1})
	r.RevokeRemote("idp", "nobody", []string{"x", "y"}, until)
	check("the identity provider has ended two", Counts{Connected: 1, Connections: 2, Revoked: 3})
	for _, release := range releases {
		release()
	}
	check("all connections have ended", Counts{Revoked: 3})
}
