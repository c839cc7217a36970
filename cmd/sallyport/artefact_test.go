package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// aDay is when everything in these tests happens.
var aDay = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// lived returns an artefact of that life, of which that much is over.
func lived(life, over time.Duration) artefact {
	return artefact{Kind: kindCertificate, Name: "x", Since: aDay.Add(-over), Until: aDay.Add(life - over)}
}

func TestLevels(t *testing.T) {
	const year = 365 * 24 * time.Hour
	renewed := func(a artefact) artefact { a.Renews = true; return a }
	failing := func(a artefact) artefact { a.Fault = "vault is away"; return renewed(a) }
	for name, tt := range map[string]struct {
		a    artefact
		want level
	}{
		"without an end":           {artefact{Since: aDay}, levelFine},
		"of an unknown life":       {artefact{Until: aDay.Add(time.Second)}, levelFine},
		"of an unknown life, over": {artefact{Until: aDay}, levelOver},
		"fresh":                    {lived(time.Hour, time.Minute), levelFine},
		"half over, and somebody must replace it":    {lived(time.Hour, 30*time.Minute), levelHalf},
		"half over, and renewed by itself":           {renewed(lived(time.Hour, 30*time.Minute)), levelFine},
		"half over, and its renewal fails":           {failing(lived(time.Hour, 30*time.Minute)), levelHalf},
		"failing, and not half over":                 {failing(lived(time.Hour, 29*time.Minute)), levelFine},
		"a quarter left":                             {renewed(lived(time.Hour, 45*time.Minute)), levelQuarter},
		"a tenth left":                               {renewed(lived(time.Hour, 54*time.Minute)), levelTenth},
		"over":                                       {renewed(lived(time.Hour, time.Hour)), levelOver},
		"ten years, half over":                       {lived(10*year, 5*year), levelFine},
		"ten years, two months left":                 {lived(10*year, 10*year-60*24*time.Hour), levelHalf},
		"ten years, three weeks left":                {lived(10*year, 10*year-21*24*time.Hour), levelQuarter},
		"ten years, a week left":                     {lived(10*year, 10*year-7*24*time.Hour), levelTenth},
		"valid from tomorrow on, longer than a year": {artefact{Since: aDay.Add(24 * time.Hour), Until: aDay.Add(year)}, levelFine},
	} {
		if got := tt.a.level(aDay); got != tt.want {
			t.Errorf("%s: %q, expected %q", name, got, tt.want)
		}
	}
}

func TestHardStopIsTheFirstThatPeopleNotice(t *testing.T) {
	token := artefact{Kind: kindToken, Name: "vault", Until: aDay.Add(time.Hour), Stops: "renewals"}
	client := artefact{Kind: kindCertificate, Name: "client", Until: aDay.Add(3 * time.Hour), Stops: "every tool is reached", Hard: true}
	edge := artefact{Kind: kindCertificate, Name: "door", Until: aDay.Add(2 * time.Hour), Stops: "browsers reach that host", Hard: true}
	endless := artefact{Kind: kindSecret, Name: "keys", Stops: "sessions", Hard: true}
	if _, found := hardStop([]artefact{token, endless}); found {
		t.Error("something stops though nobody notices")
	}
	first, found := hardStop([]artefact{token, client, endless, edge})
	if want := "2026-11-25T14:00:00Z: certificate door (browsers reach that host)"; !found || describeStop(first) != want {
		t.Errorf("first hard stop %s, expected %s", describeStop(first), want)
	}
}

func TestRemarksNameWhatIsWrong(t *testing.T) {
	fine := lived(24*time.Hour, time.Hour)
	fine.Stops, fine.Hard = "browsers reach that host", true
	if got := remarks([]artefact{fine}, aDay); got != nil {
		t.Errorf("remarks %q though nothing is wrong", got)
	}
	refused := followArtefact(followState{Kind: kindSecret, Name: "secret/app", Version: "1", Refused: "2", Cause: "broken"})
	got := strings.Join(remarks([]artefact{fine, refused, lived(time.Hour, 50*time.Minute)}, aDay), "\n")
	want := `secret secret/app: version 2 refused: broken
certificate x: a quarter of its life left, until 2026-11-25T12:10:00Z
first hard stop 2026-11-26T11:00:00Z: certificate x (browsers reach that host)`
	if got != want {
		t.Errorf("remarks:\n%s\nexpected:\n%s", got, want)
	}
}

func TestSentinelTellsEachStepOnce(t *testing.T) {
	var log bytes.Buffer
	a := lived(100*time.Minute, 0)
	a.Stops, a.Hard = "browsers reach that host", true
	s := &sentinel{log: slog.New(slog.NewTextHandler(&log, nil)), artefacts: func() []artefact { return []artefact{a} }, told: map[string]level{}}
	step := func(minutes int) string {
		log.Reset()
		for range 3 { // it looks often
			s.look(context.Background(), aDay.Add(time.Duration(minutes)*time.Minute))
		}
		return log.String()
	}
	for _, tt := range []struct {
		minutes int
		want    string
	}{
		{10, ""},
		{50, "level=WARN"},
		{60, ""},
		{75, "level=ERROR"},
		{90, "a tenth of its life left"},
		{100, "state=ended"},
	} {
		got := step(tt.minutes)
		if (got == "") != (tt.want == "") || strings.Count(got, "event=end_is_near") > 1 || !strings.Contains(got, tt.want) {
			t.Errorf("after %d minutes it says\n%s\nexpected %q", tt.minutes, got, tt.want)
		}
	}
	a.Since, a.Until = a.Until, a.Until.Add(100*time.Minute) // renewed after all
	if got := step(101); strings.Count(got, "replaced in time or mended") != 1 {
		t.Errorf("after a renewal it says\n%s", got)
	}
	if got := step(150); !strings.Contains(got, "level=WARN") {
		t.Errorf("the next life is not watched:\n%s", got)
	}
}

func TestDurationsAreReadable(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", 90 * time.Minute: "1h30m", 49 * time.Hour: "2d1h",
		-90 * time.Second: "-1m30s",
	} {
		if got := readable(d); got != want {
			t.Errorf("%s reads %q, expected %q", d, got, want)
		}
	}
}
