package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Window is a span of time that recurs weekly or daily, in UTC, and is written
// as "02:00-05:00", "Sat 02:00-05:00" or "Sat-Sun 02:00-05:00". A window that
// ends before it begins ends on the next day.
//
// The zero value is no window, and is written as "any".
type Window struct {
	// First and Last are the days on which it opens, both included; Sunday and
	// Saturday are all days.
	First, Last time.Weekday
	// From and To are times of day in whole minutes.
	From, To time.Duration
}

// anyTime is the text of no window.
const anyTime = "any"

const oneDay = 24 * time.Hour

var windowText = regexp.MustCompile(
	`^(any|((Sun|Mon|Tue|Wed|Thu|Fri|Sat)(-(Sun|Mon|Tue|Wed|Thu|Fri|Sat))? )?([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00))$`)

// UnmarshalText accepts the forms that [Window] describes.
func (w *Window) UnmarshalText(text []byte) error {
	wrong := &mismatch{
		value:    string(text),
		expected: `times of day in UTC such as 02:00-05:00 or Sat-Sun 02:00-05:00, or "any"`,
	}
	if !windowText.Match(text) {
		return wrong
	}
	if string(text) == anyTime {
		*w = Window{}
		return nil
	}
	read := Window{First: time.Sunday, Last: time.Saturday}
	span := string(text)
	if days, rest, found := strings.Cut(span, " "); found {
		first, last, several := strings.Cut(days, "-")
		if !several {
			last = first
		}
		read.First, read.Last, span = weekday(first), weekday(last), rest
	}
	from, to, _ := strings.Cut(span, "-")
	read.From, read.To = timeOfDay(from), timeOfDay(to)
	if read.From == read.To {
		wrong.expected += "; this one is over when it begins"
		return wrong
	}
	*w = read
	return nil
}

// weekday reads the short name of a day, which windowText has let through.
func weekday(name string) time.Weekday {
	return time.Weekday(slices.Index(dayNames[:], name))
}

var dayNames = [...]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// timeOfDay reads "hh:mm", which windowText has let through.
func timeOfDay(text string) time.Duration {
	digit := func(i int) int { return int(text[i] - '0') }
	minutes := 60*(10*digit(0)+digit(1)) + 10*digit(3) + digit(4)
	return time.Duration(minutes) * time.Minute
}

// MarshalText returns the form that UnmarshalText reads back.
func (w Window) MarshalText() ([]byte, error) {
	return []byte(w.String()), nil
}

// String returns the text of MarshalText.
func (w Window) String() string {
	if w.None() {
		return anyTime
	}
	days := ""
	switch {
	case w.First == w.Last:
		days = dayNames[w.First] + " "
	case w.First != time.Sunday || w.Last != time.Saturday:
		days = dayNames[w.First] + "-" + dayNames[w.Last] + " "
	}
	clock := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	return days + clock(w.From) + "-" + clock(w.To)
}

// None says whether there is no window.
func (w Window) None() bool { return w == Window{} }

// closed returns the longest time for which the window is not open.
func (w Window) closed() time.Duration {
	length := w.To - w.From
	if length <= 0 {
		length += oneDay
	}
	days := (int(w.Last)-int(w.First)+7)%7 + 1
	return time.Duration(8-days)*oneDay - length
}
