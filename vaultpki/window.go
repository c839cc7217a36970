package vaultpki

import (
	"errors"
	"fmt"
	"time"
)

// Window is a span of time that recurs weekly or daily, in UTC. The zero value
// is no window.
type Window struct {
	// First and Last are the days of the week on which it opens, both included;
	// Last before First goes round the week's end. Sunday and Saturday are all
	// days.
	First, Last time.Weekday
	// From and To are times of day, To at most 24h. If To is not after From, the
	// window ends on the next day.
	From, To time.Duration
}

const day = 24 * time.Hour

// none says whether there is no window.
func (w Window) none() bool { return w == Window{} }

// check refuses what is no window.
func (w Window) check() error {
	inWeek := func(d time.Weekday) bool { return time.Sunday <= d && d <= time.Saturday }
	switch {
	case w.none():
		return nil
	case !inWeek(w.First) || !inWeek(w.Last):
		return fmt.Errorf("window from day %d to day %d: expected days of the week", w.First, w.Last)
	case w.From < 0 || w.From >= day || w.To < 0 || w.To > day || w.From == w.To:
		return errors.New("window: expected two different times of day")
	}
	return nil
}

// next returns when the window is open next, from at on: at itself if it is open
// then; and when it closes again.
func (w Window) next(at time.Time) (opens, closes time.Time) {
	at = at.UTC()
	today := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	length := w.To - w.From
	if length <= 0 {
		length += day
	}
	// Yesterday's may still be open; a week later every day has come.
	for offset := -1; ; offset++ {
		start := today.AddDate(0, 0, offset)
		opens = start.Add(w.From)
		closes = opens.Add(length)
		if w.on(start.Weekday()) && closes.After(at) {
			break
		}
	}
	if opens.Before(at) {
		opens = at
	}
	return opens, closes
}

// on says whether the window opens on a day of the week.
func (w Window) on(d time.Weekday) bool {
	if w.First <= w.Last {
		return w.First <= d && d <= w.Last
	}
	return d >= w.First || d <= w.Last
}
