package main

import (
	"context"
	"log/slog"
	"time"
)

// sentinel tells the log when something that the process lives from nears its
// end, once for each step of the way: half of its life, a quarter, a tenth, and
// the end.
type sentinel struct {
	artefacts func() []artefact
	log       *slog.Logger
	told      map[string]level // by kind and name; owned by run
}

// sentinelTick is how often it looks: often enough for leaves of a minute.
const sentinelTick = time.Second

// run looks until ctx ends.
func (s *sentinel) run(ctx context.Context) error {
	s.told = map[string]level{}
	ticker := time.NewTicker(sentinelTick)
	defer ticker.Stop()
	for {
		s.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look compares every artefact with what was last told of it. What is gone is
// forgotten; what was replaced is fine again.
func (s *sentinel) look(ctx context.Context, now time.Time) {
	all := s.artefacts()
	worst := map[string]artefact{} // of those with the same name, as two certificates of one name
	for _, a := range all {
		if other, found := worst[a.String()]; !found || a.level(now) > other.level(now) {
			worst[a.String()] = a
		}
	}
	before := s.told
	s.told = make(map[string]level, len(worst))
	for name, a := range worst {
		at := a.level(now)
		s.told[name] = at
		switch {
		case at > before[name]:
			s.tell(ctx, a, at, all, now)
		case at == levelFine && before[name] > levelHalf:
			s.log.InfoContext(ctx, "replaced in time or mended", "kind", a.Kind, "name", a.Name, "until", a.Until)
		}
	}
}

// tell writes one line. At half of a life nothing is lost yet.
func (s *sentinel) tell(ctx context.Context, a artefact, at level, all []artefact, now time.Time) {
	severity := slog.LevelError
	if at == levelHalf || (at == levelQuarter && !a.Hard) {
		severity = slog.LevelWarn
	}
	stop := ""
	if first, found := hardStop(all); found {
		stop = describeStop(first)
	}
	s.log.Log(ctx, severity, "nears its end", "event", "end_is_near", "state", at.String(), "kind", a.Kind, "name", a.Name,
		"until", a.Until, "time_left", a.Until.Sub(now).Round(time.Second), "stops", a.Stops, "cause", a.Fault, "first_hard_stop", stop)
}
