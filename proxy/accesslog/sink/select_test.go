package sink

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// place takes what it is given, or as much as it says.
type place struct {
	lines []byte
	room  int // how much of the next batch is taken; negative for all
	taken int // of the batch in hand
	syncs int
}

var errFull = errors.New("no space left on device")

func (p *place) Name() string { return "siem" }
func (p *place) Close() error { return nil }

func (p *place) Sync(context.Context) error {
	p.syncs++
	return nil
}

func (p *place) Write(_ context.Context, b *accesslog.Batch) error {
	rest := b.Lines[p.taken:]
	if p.room >= 0 && p.room < len(rest) {
		p.lines = append(p.lines, rest[:p.room]...)
		p.taken += p.room
		p.room = -1
		return errFull
	}
	p.lines = append(p.lines, rest...)
	p.taken = 0
	if bytes.Count(b.Lines, []byte{'\n'}) != b.Count {
		return errors.New("the batch says another number of lines than it has")
	}
	return nil
}

const (
	allowed = `{"@timestamp":"t","event.action":"access","event.outcome":"success","sallyport.decision":"allow","event.reason":"group_allowed","sallyport.route":"grafana"}`
	denied  = `{"@timestamp":"t","event.action":"access","event.outcome":"failure","sallyport.decision":"deny","event.reason":"nobody","sallyport.route":"wiki"}`
	refused = `{"@timestamp":"t","event.action":"refused","event.outcome":"failure","sallyport.decision":"deny","event.reason":"malformed"}`
	forged  = `{"@timestamp":"t","event.action":"access","user.name":"\",\"sallyport.decision\":\"deny","sallyport.decision":"allow"}`
	started = `{"@timestamp":"t","event.action":"log_start","event.outcome":"success"}`
	check   = `{"@timestamp":"t","event.action":"checkpoint"}`
)

func batch(lines ...string) *accesslog.Batch {
	return &accesslog.Batch{Lines: []byte(strings.Join(lines, "\n") + "\n"), Count: len(lines), Instance: "a", First: 1, Last: uint64(len(lines))}
}

func TestSelect(t *testing.T) {
	short := func(dst, line []byte) []byte {
		if bytes.Contains(line, []byte("checkpoint")) {
			return dst
		}
		return append(dst, line[:30]...)
	}
	tests := []struct {
		name   string
		only   Filter
		format Format
		want   []string
	}{
		{name: "everything", want: []string{allowed, denied, refused, forged, started, check}},
		{name: "denials", only: Filter{Decisions: []string{"deny"}}, want: []string{denied, refused, started, check}},
		{name: "denials of a tool", only: Filter{Decisions: []string{"deny", "step_up"}, Routes: []string{"wiki"}}, want: []string{denied, started, check}},
		{name: "an action", only: Filter{Actions: []string{"refused"}}, want: []string{refused}},
		{name: "an action and the log's own", only: Filter{Actions: []string{"refused", "log_start"}, Reasons: []string{"malformed"}}, want: []string{refused, started}},
		{name: "successes", only: Filter{Outcomes: []string{"success"}}, want: []string{allowed, started, check}},
		{name: "reasons", only: Filter{Reasons: []string{"nobody", "group_allowed"}}, want: []string{allowed, denied, started, check}},
		{name: "a format", only: Filter{Decisions: []string{"deny"}}, format: short, want: []string{denied[:30], refused[:30], started[:30]}},
		{name: "a format of everything", format: short, want: []string{allowed[:30], denied[:30], refused[:30], forged[:30], started[:30]}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := place{room: -1}
			s := Select(&p, test.only, test.format)
			for _, b := range []*accesslog.Batch{batch(allowed, denied, refused), batch(forged), batch(started, check)} {
				if err := s.Write(t.Context(), b); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(strings.Join(test.want, "\n")+"\n", string(p.lines)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := s.(accesslog.Syncer).Sync(t.Context()); err != nil || p.syncs != 1 {
				t.Errorf("synced %d times (%v)", p.syncs, err)
			}
		})
	}
}

// TestASelectionGoesOnWhereTheSinkStopped fails at every byte.
func TestASelectionGoesOnWhereTheSinkStopped(t *testing.T) {
	want := denied + "\n" + refused + "\n"
	for room := range len(want) {
		p := place{room: room}
		s := Select(&p, Filter{Decisions: []string{"deny"}}, nil)
		b := batch(allowed, denied, refused)
		if err := s.Write(t.Context(), b); !errors.Is(err, errFull) {
			t.Fatalf("Write = %v", err)
		}
		if err := s.Write(t.Context(), b); err != nil || string(p.lines) != want {
			t.Fatalf("after %d bytes: %v, %q", room, err, p.lines)
		}
	}
}

func BenchmarkSelect(b *testing.B) {
	r := accesslog.Record{Action: accesslog.ActionAccess, Decision: "allow", Reason: "group_allowed", User: "alice@example.com", Path: "/d/abc", Status: 200, Route: "grafana"}
	batch := accesslog.Batch{Lines: bytes.Repeat(r.AppendJSON(nil, "gateway"), 100), Count: 100}
	s := Select(&place{room: -1}, Filter{Decisions: []string{"deny"}}, nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
	}
}
