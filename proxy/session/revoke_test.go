package session

import (
	"context"
	"errors"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// at is a state of the person "s" in the session "i", signed on at that moment.
func at(signed time.Time) *State {
	return &State{ID: NewID(), Subject: "s", Index: "i", Signed: signed.UnixMilli(), AuthnAt: signed.Unix(), Expires: signed.Add(time.Hour).Unix()}
}

func TestRevokeRemote(t *testing.T) {
	tests := []struct {
		name    string
		subject string
		indexes []string
		state   func(*State)
		want    bool
	}{
		{name: "all of the person's", subject: "s", want: true},
		{name: "another person's", subject: "t"},
		{name: "that session", subject: "s", indexes: []string{"x", "i"}, want: true},
		{name: "another session of the person's", subject: "s", indexes: []string{"x"}},
		{name: "nothing by no name", subject: ""},
		{name: "nothing by an empty index", subject: "s", indexes: []string{""}},
		{name: "nobody is named by nothing", subject: "", state: func(s *State) { s.Subject, s.Index = "", "" }},
		{name: "a session without a name of its own", subject: "s", indexes: []string{"x", "s"}, state: func(s *State) { s.Index = "s" }, want: true},
		{name: "a subject is no index", subject: "i", indexes: []string{"s"}},
		{name: "signed on in that millisecond", subject: "s", state: func(s *State) { s.Signed = time.Now().UnixMilli() }, want: true},
		{name: "signed on a millisecond later", subject: "s", state: func(s *State) { s.Signed = time.Now().UnixMilli() + 1 }},
		{name: "an old proof that comes later, for that session", subject: "s", indexes: []string{"i"}, state: func(s *State) { s.Signed = time.Now().Add(time.Second).UnixMilli() }, want: true},
		{
			name: "a new proof that comes later, for that session", subject: "s", indexes: []string{"i"},
			state: func(s *State) {
				s.Signed, s.AuthnAt = time.Now().Add(time.Second).UnixMilli(), time.Now().Add(time.Second).Unix()
			},
		},
		{
			name: "an old proof that comes later, for a session without a name", subject: "s", indexes: []string{"s"},
			state: func(s *State) { s.Index, s.Signed = "s", time.Now().Add(time.Second).UnixMilli() },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewRevocations(time.Now)
				s := at(time.Now().Add(-time.Minute))
				if test.state != nil {
					test.state(s)
				}
				before, release := r.Bind(t.Context(), Use{Host: toolA}, s)
				defer release()
				r.RevokeRemote("", test.subject, test.indexes, time.Now().Add(time.Hour))
				after, releaseAfter := r.Bind(t.Context(), Use{Host: toolA}, s)
				defer releaseAfter()
				if r.Ended(s) != test.want || before.Err() != nil != test.want || after.Err() != nil != test.want {
					t.Errorf("ended %t, connection before %v, after %v, want ended %t", r.Ended(s), context.Cause(before), context.Cause(after), test.want)
				}
			})
		})
	}
}

// TestRevokeRemoteTellsWhatWasOpen, and ends what goes by the same id with it.
func TestRevokeRemoteTellsWhatWasOpen(t *testing.T) {
	r, now := NewRevocations(time.Now), time.Now()
	named, later, other := at(now), at(now), at(now)
	later.ID, later.Index = named.ID, "j"
	other.Index = "j"
	var bound [3]context.Context
	for i, s := range []*State{named, later, other} {
		ctx, release := r.Bind(t.Context(), Use{Host: toolA}, s)
		defer release()
		bound[i] = ctx
	}
	open := r.RevokeRemote("", "s", []string{"i"}, now.Add(time.Hour))
	if len(open) != 1 || open[0] != named {
		t.Errorf("open: %v", open)
	}
	if !errors.Is(context.Cause(bound[0]), ErrEnded) || !errors.Is(context.Cause(bound[1]), ErrEnded) || bound[2].Err() != nil {
		t.Errorf("causes %v, %v, %v", context.Cause(bound[0]), context.Cause(bound[1]), context.Cause(bound[2]))
	}
	if !r.Ended(later) || r.Ended(other) {
		t.Errorf("the same session under another index has ended: %t; another: %t", r.Ended(later), r.Ended(other))
	}
}

// TestLogoutOfTheLastSignOnEndsTheOnesBefore: a person signs on twice in one
// browser, and the identity provider, which has named both times differently,
// knows the second name alone.
func TestLogoutOfTheLastSignOnEndsTheOnesBefore(t *testing.T) {
	c, b := newClock(), newBrowser()
	m := newTestManager(t, c, Keys{Current: testKey(1)})
	signOn := func(index string) *State {
		s := alice()
		s.Subject, s.Index = "s", index
		state, w := m.Start(b.request(), s, time.Time{}), httptest.NewRecorder()
		if err := m.SaveDoor(w, b.request(), door, state); err != nil {
			t.Fatal(err)
		}
		b.take(w)
		c.advance(time.Second)
		return state
	}
	first, second := signOn("1"), signOn("2")
	if first.ID != second.ID {
		t.Fatal("the second sign-on did not go on under the first one's id")
	}
	m.EndRemote(first.IdP, "s", []string{"2"})
	for i, s := range []*State{first, second} {
		if _, absence := m.judge(s); absence != AbsentRevoked {
			t.Errorf("sign-on %d is %q", i+1, absence)
		}
	}
	c.advance(time.Second)
	if third := signOn("3"); third.ID == first.ID {
		t.Error("a sign-on after the logout goes on under the id that has ended")
	} else if _, absence := m.judge(third); absence != Present {
		t.Errorf("a sign-on after the logout is %q", absence)
	}
}

// size is all that is remembered.
func size(r *Revocations) int {
	n := len(r.ended)
	for _, e := range r.remote {
		n += e.size()
	}
	return n
}

func TestRemoteRevocationsAreForgottenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRevocations(time.Now)
		s := at(time.Now())
		r.RevokeRemote("", "s", nil, time.Now().Add(time.Hour))
		r.RevokeRemote("", "s", nil, time.Now().Add(time.Minute)) // does not shorten
		r.RevokeRemote("", "s", []string{"i"}, time.Now().Add(time.Hour))
		r.Join(&State{IdP: "", Index: "j", ID: s.ID}, time.Now().Add(time.Hour))
		<-time.After(30 * time.Minute)
		r.Revoke(&State{ID: "x"}, time.Now().Add(time.Second))
		if !r.Ended(s) || size(r) != 4 {
			t.Errorf("ended %t, %d entries", r.Ended(s), size(r))
		}
		<-time.After(31 * time.Minute)
		r.Revoke(&State{ID: "y"}, time.Now().Add(time.Hour))
		if size(r) != 1 {
			t.Errorf("%d entries are left, want 1", size(r))
		}
	})
}

// TestRevocationsAreBounded fills the memory: everybody who is signed in then has
// to sign on again, and nobody who was signed out gets in.
func TestRevocationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRevocations(time.Now)
		gone, here := at(time.Now()), at(time.Now())
		gone.Subject, here.Subject = "gone", "here"
		bound, release := r.Bind(t.Context(), Use{Host: toolA}, here)
		defer release()
		until := time.Now().Add(time.Hour)
		r.RevokeRemote("", "gone", nil, until)
		for i := range revokedLimit {
			r.Revoke(&State{ID: strconv.Itoa(i)}, until)
		}
		if !r.Ended(gone) || r.Ended(here) || bound.Err() != nil {
			t.Fatalf("a full memory: ended %t, %t, connection %v", r.Ended(gone), r.Ended(here), context.Cause(bound))
		}
		r.Revoke(&State{ID: "one more"}, until)
		if !r.Ended(gone) || !r.Ended(here) || !errors.Is(context.Cause(bound), ErrEnded) {
			t.Errorf("after one more: ended %t, %t, connection %v", r.Ended(gone), r.Ended(here), context.Cause(bound))
		}
		if size(r) != 1 {
			t.Errorf("%d entries", size(r))
		}
		<-time.After(time.Millisecond)
		if later := at(time.Now()); r.Ended(later) {
			t.Error("a later sign-on has ended")
		}
	})
}

// TestWhoSignsOutAllDayEndsNobodyElsesSessions: each round ends one session, and in the
// end it is all of that person's.
func TestWhoSignsOutAllDayEndsNobodyElsesSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRevocations(time.Now)
		session := func(user string) *State {
			s := at(time.Now())
			s.User, s.Subject = user, user
			return s
		}
		first, elsewhere, other := session("mallory"), session("mallory"), session("bob")
		theirs, release := r.Bind(t.Context(), Use{Host: toolA}, elsewhere)
		defer release()
		his, release := r.Bind(t.Context(), Use{Host: toolA}, other)
		defer release()
		until := time.Now().Add(time.Hour)
		r.Revoke(first, until.Add(time.Hour)) // the longest counts
		for range personLimit - 1 {
			r.Revoke(session("mallory"), until)
			r.Revoke(first, until) // is one session
		}
		if !r.Ended(first) || r.Ended(elsewhere) || theirs.Err() != nil || size(r) != personLimit {
			t.Fatalf("ended %t and %t, connection %v, %d entries", r.Ended(first), r.Ended(elsewhere), context.Cause(theirs), size(r))
		}
		for range 2 * revokedLimit {
			r.Revoke(session("mallory"), until)
		}
		if !r.Ended(first) || !r.Ended(elsewhere) || !errors.Is(context.Cause(theirs), ErrEnded) {
			t.Errorf("after the flood: ended %t and %t, connection %v", r.Ended(first), r.Ended(elsewhere), context.Cause(theirs))
		}
		if r.Ended(other) || his.Err() != nil || size(r) > personLimit || len(r.persons) != 1 {
			t.Errorf("another's has ended: %t, connection %v; %d entries of %d people", r.Ended(other), context.Cause(his), size(r), len(r.persons))
		}
		<-time.After(time.Millisecond)
		if r.Ended(session("mallory")) {
			t.Error("a later sign-on has ended")
		}
		<-time.After(90 * time.Minute)
		r.Revoke(other, time.Now().Add(time.Hour)) // sweeps
		if !r.Ended(first) || len(r.persons) != 2 {
			t.Errorf("before it may be forgotten: ended %t, %d people", r.Ended(first), len(r.persons))
		}
		<-time.After(31 * time.Minute)
		r.Revoke(other, time.Now().Add(time.Hour))
		if size(r) != 1 || len(r.persons) != 1 {
			t.Errorf("in the end: %d entries of %d people", size(r), len(r.persons))
		}
	})
}

// TestFloodOfLogoutsEndsNobodyElsesSessions: an identity provider that was broken into
// signs as many as it likes.
func TestFloodOfLogoutsEndsNobodyElsesSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRevocations(time.Now)
		ours, theirs, left := at(time.Now()), at(time.Now()), at(time.Now())
		ours.IdP, theirs.IdP, left.IdP = "https://ours", "https://theirs", "https://theirs"
		left.ID, left.Subject = "another", "left"
		bound, release := r.Bind(t.Context(), Use{Host: toolA}, ours)
		defer release()
		until := time.Now().Add(12 * time.Hour)
		r.RevokeRemote("https://theirs", "left", nil, until)
		for n := range 2 * revokedLimit / 64 {
			var indexes []string
			for i := range 64 {
				indexes = append(indexes, strconv.Itoa(64*n+i))
			}
			r.RevokeRemote("https://theirs", "nobody", indexes, until)
		}
		if r.Ended(ours) || bound.Err() != nil {
			t.Errorf("the other's session has ended: %t, its connection: %v", r.Ended(ours), context.Cause(bound))
		}
		if !r.Ended(left) || !r.Ended(theirs) {
			t.Errorf("its own have ended: %t, %t", r.Ended(left), r.Ended(theirs))
		}
		if n := size(r); n > remoteLimit {
			t.Errorf("%d entries", n)
		}
		<-time.After(2 * time.Millisecond)
		here := at(time.Now())
		here.IdP = "https://theirs"
		open, release := r.Bind(t.Context(), Use{Host: toolA}, here)
		defer release()
		for i := range remoteLimit { // sign-ons of one browser
			r.Join(&State{IdP: "https://theirs", Index: "again" + strconv.Itoa(i), ID: "id"}, until)
		}
		if !r.Ended(here) || !errors.Is(context.Cause(open), ErrEnded) || r.Ended(ours) || bound.Err() != nil {
			t.Errorf("after a flood of sign-ons its own has ended: %t, %v; the other's: %t, %v", r.Ended(here), context.Cause(open), r.Ended(ours), bound.Err())
		}
		<-time.After(2 * time.Millisecond)
		later := at(time.Now())
		later.IdP = "https://theirs"
		if r.Ended(later) {
			t.Error("a later sign-on there has ended")
		}
	})
}

// TestFullMemoryOfOldRevocationsMakesRoom before it ends anybody.
func TestFullMemoryOfOldRevocationsMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRevocations(time.Now)
		here := at(time.Now())
		for i := range revokedLimit {
			r.Revoke(&State{ID: strconv.Itoa(i)}, time.Now().Add(time.Second))
		}
		<-time.After(2 * time.Second) // sooner than it is swept
		r.Revoke(&State{ID: "one more"}, time.Now().Add(time.Hour))
		if r.Ended(here) || size(r) != 1 {
			t.Errorf("ended %t, %d entries", r.Ended(here), size(r))
		}
	})
}

// TestRevokeRemoteEndsAllConnections binds and revokes at the same time: whichever
// comes first, no connection outlives the logout.
func TestRevokeRemoteEndsAllConnections(t *testing.T) {
	r := NewRevocations(time.Now)
	signed := time.Now().Add(-time.Second)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			bound, release := r.Bind(t.Context(), Use{Host: toolA}, at(signed))
			defer release()
			if i == 16 {
				r.RevokeRemote("", "s", []string{"i"}, time.Now().Add(time.Hour))
			}
			<-bound.Done()
			if !errors.Is(context.Cause(bound), ErrEnded) {
				t.Errorf("cause = %v, want ErrEnded", context.Cause(bound))
			}
		})
	}
	wg.Wait()
	if len(r.streams.first) != 0 || len(r.people.first) != 0 {
		t.Errorf("connections of %d sessions and %d people are left", len(r.streams.first), len(r.people.first))
	}
}

// BenchmarkFindAfterManyLogouts is Find with a hundred thousand logouts to look at.
func BenchmarkFindAfterManyLogouts(b *testing.B) {
	m := newTestManager(b, newClock(), Keys{Current: testKey(1), Next: testKey(2), Previous: testKey(3)})
	for i := range 50_000 {
		m.EndRemote("", strconv.Itoa(i), nil)
		m.EndRemote("", "", []string{strconv.Itoa(i)})
	}
	person := realistic()
	person.Subject, person.Index = "0123456789abcdefghijkl", "abcdefghijkl0123456789"
	r := signedIn(b, m, m.Start(newBrowser().request(), person, time.Time{})).request()
	b.ReportAllocs()
	for b.Loop() {
		if _, absence := m.Find(r, toolA); absence != Present {
			b.Fatal(absence)
		}
	}
}

// BenchmarkRevokeRemote is a logout with ten thousand connections of others open.
func BenchmarkRevokeRemote(b *testing.B) {
	r := NewRevocations(time.Now)
	for i := range 10_000 {
		s := at(time.Now())
		s.Subject = strconv.Itoa(i)
		_, release := r.Bind(b.Context(), Use{Host: toolA}, s)
		defer release()
	}
	for b.Loop() {
		r.RevokeRemote("", "t", []string{"x"}, time.Now().Add(time.Hour))
	}
}
