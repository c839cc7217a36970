package report

import (
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

//go:embed report.html
var page string

//go:embed report.css
var style string

// WriteHTML writes the report as one page. It loads nothing and runs nothing: the
// style stands in it and is the only one that its policy lets in. It can be printed.
func (r *Report) WriteHTML(w io.Writer) error {
	sum := sha256.Sum256([]byte(style))
	t, err := template.New("report").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(style) }, //nolint:gosec // our own
		"policy": func() string {
			return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
		},
		"visible": audit.Visible, "date": date, "clock": clock, "thousands": thousands, "chart": newChart, "ratio": newRatio,
		"join": strings.Join, "state": func(p Person) string { return p.state() }, "plural": plural,
		"last": func(t time.Time) string { return t.Add(-time.Nanosecond).UTC().Format(time.DateOnly) },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("parsing the report's page: %w", err)
	}
	if err := t.Execute(w, r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func date(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format(time.DateOnly)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// thousands writes a number in groups of three.
func thousands(n int64) string {
	text := number(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "\u202f" + text[at:]
	}
	return text
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(int64(n)) + " " + many
}

// chart is a column chart of days: what was let in below, what was turned away on it.
type chart struct {
	Width, Height int
	Bars          []bar
	Max           int64
	From, To      string
	Each          string // "a day"
	Text          string // what it shows, for who does not see it
}

type bar struct {
	X, Width           float64
	AllowedY, AllowedH float64
	DeniedY, DeniedH   float64
	Title              string
}

// maxBars is how many columns a chart has at most; more days are put together.
const maxBars = 120

// newChart draws days.
func newChart(days []Day, width, height int) chart {
	c := chart{Width: width, Height: height, Each: "a day"}
	if len(days) == 0 {
		return c
	}
	each := (len(days) + maxBars - 1) / maxBars
	if each > 1 {
		c.Each = fmt.Sprintf("in %d days", each)
	}
	var columns []Day
	for i := 0; i < len(days); i += each {
		sum := Day{Date: days[i].Date}
		for _, d := range days[i:min(i+each, len(days))] {
			sum.Allowed += d.Allowed
			sum.Denied += d.Denied
		}
		columns = append(columns, sum)
		c.Max = max(c.Max, sum.Allowed+sum.Denied)
	}
	c.From, c.To = days[0].Date, days[len(days)-1].Date
	slot := float64(width) / float64(len(columns))
	busiest := columns[0]
	for i, d := range columns {
		if d.Allowed+d.Denied > busiest.Allowed+busiest.Denied {
			busiest = d
		}
		c.Bars = append(c.Bars, c.bar(i, d, slot, each))
	}
	if c.Max == 0 {
		c.Text = fmt.Sprintf("No requests from %s to %s.", c.From, c.To)
		return c
	}
	c.Text = fmt.Sprintf("Requests from %s to %s. Most on %s: %d let in, %d turned away.", c.From, c.To, busiest.Date, busiest.Allowed, busiest.Denied)
	return c
}

func (c *chart) bar(i int, d Day, slot float64, each int) bar {
	scale := float64(c.Height) / float64(max(c.Max, 1))
	b := bar{X: float64(i) * slot, Width: max(slot*.78, 1), AllowedH: float64(d.Allowed) * scale, DeniedH: float64(d.Denied) * scale}
	// What there is shall be seen, however little.
	if d.Allowed > 0 {
		b.AllowedH = max(b.AllowedH, 1)
	}
	if d.Denied > 0 {
		b.DeniedH = max(b.DeniedH, 1.5)
	}
	b.AllowedY = float64(c.Height) - b.AllowedH
	b.DeniedY = max(0, b.AllowedY-b.DeniedH)
	b.Title = fmt.Sprintf("%s: %d let in, %d turned away", d.Date, d.Allowed, d.Denied)
	if each > 1 {
		b.Title = fmt.Sprintf("%d days from %s", each, b.Title)
	}
	return b
}

// ratio is a horizontal bar: a part of a whole.
type ratio struct{ Width float64 }

func newRatio(part, whole int64, width int) ratio {
	return ratio{max(float64(part)/float64(max(whole, 1))*float64(width), 2)}
}
