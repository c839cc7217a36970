package auditpage

import (
	"context"
	"fmt"
	"time"
)

// chart is a timeline: a bar for each step of time, of all requests and, in front of
// them, of those that were turned away. It is drawn in units of a picture that is
// chartWidth wide and chartHeight high.
type chart struct {
	Title, Summary string
	Bars           []bar
	Top            string // what the highest bar counts
	Left, Right    string // when it begins and ends
	Width, Height  int
}

const (
	chartWidth  = 960
	chartHeight = 120
)

// bar is one step. X and W are where it stands; the others are heights and places of what
// was let in and what was denied.
type bar struct {
	Label          string // what a pointer is told
	When           string // for the table
	All, Denied    int
	X, W           string
	AllY, AllH     string
	DeniedY, DenyH string
}

// scale is how long steps are, what that is called, and how the begin of one is written.
type scale struct {
	each       time.Duration
	name, form string
}

// scales are those that there are: the first is taken with which no more than maxSteps
// are needed.
var scales = []scale{
	{time.Minute, "minute", "15:04"}, {5 * time.Minute, "5 minutes", "15:04"}, {15 * time.Minute, "quarter of an hour", "Jan 2 15:04"},
	{time.Hour, "hour", "Jan 2 15:04"}, {6 * time.Hour, "6 hours", "Jan 2 15:04"}, {24 * time.Hour, "day", "2006-01-02"}, {7 * 24 * time.Hour, "week", "2006-01-02"},
}

const maxSteps = 96

// span is the time that a search is about, as far as there are records.
func (v *visit) span(e Extent) (from, until time.Time) {
	from, until = v.asked.Since, v.asked.Until
	if now := v.page.cfg.Now(); until.IsZero() || until.After(now) {
		until = now
	}
	if from.Before(e.First) {
		from = e.First
	}
	return from, until
}

// stepsOf divides a span; a step begins with a whole minute, hour or day of UTC.
func stepsOf(from, until time.Time) (s Steps, name, form string) {
	for _, scale := range scales {
		start := from.UTC().Truncate(scale.each)
		count := int(until.Sub(start)/scale.each) + 1
		s, name, form = Steps{From: start, Each: scale.each, Count: min(max(count, 1), maxSteps)}, scale.name, scale.form
		if count <= maxSteps {
			break
		}
	}
	return s, name, form
}

// chart counts and draws.
func (v *visit) chart(ctx context.Context, e Extent) (*chart, error) {
	from, until := v.span(e)
	steps, name, form := stepsOf(from, until)
	counted, err := v.page.cfg.Store.Timeline(ctx, &v.asked.Search, steps)
	if err != nil {
		return nil, err
	}
	return drawn(steps, counted, name, form), nil
}

// drawn is the picture of what was counted.
func drawn(steps Steps, counted []Step, name, form string) *chart {
	c := &chart{Width: chartWidth, Height: chartHeight}
	highest, all, denied := 1, 0, 0
	for _, s := range counted {
		highest, all, denied = max(highest, s.All), all+s.All, denied+s.Denied
	}
	slot := float64(chartWidth) / float64(len(counted))
	tall := func(n int) float64 { // what is there can be seen
		if n == 0 {
			return 0
		}
		return max(2, float64(n)/float64(highest)*chartHeight)
	}
	for i, s := range counted {
		at := steps.From.Add(time.Duration(i) * steps.Each)
		a, d := tall(s.All), tall(s.Denied)
		b := bar{
			When: at.Format(form), All: s.All, Denied: s.Denied, X: units(float64(i)*slot + slot*.1), W: units(slot * .8),
			AllY: units(chartHeight - a), AllH: units(a), DeniedY: units(chartHeight - d), DenyH: units(d),
		}
		b.Label = fmt.Sprintf("%s: %d, %d denied", b.When, s.All, s.Denied)
		c.Bars = append(c.Bars, b)
	}
	c.Title = "Records per " + name
	c.Summary = fmt.Sprintf("%s records, %s denied", grouped(int64(all)), grouped(int64(denied)))
	c.Top = grouped(int64(highest))
	c.Left = steps.From.Format(form)
	c.Right = steps.From.Add(time.Duration(len(counted)) * steps.Each).Format(form)
	return c
}

// units is a length in the picture.
func units(n float64) string { return fmt.Sprintf("%.1f", n) }
