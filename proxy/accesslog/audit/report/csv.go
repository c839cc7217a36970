package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// csvHead names the columns.
var csvHead = []string{
	"tool", "title", "about", "name", "groups", "may_by", "state", "allowed", "first", "last", "rules", "denied", "last_denied",
}

// The states of somebody at a tool.
const (
	stateActive = "active"      // has opened it lately
	stateIdle   = "idle"        // may, and has not for long
	stateFormer = "may not"     // has, and may not any more
	stateDenied = "turned away" // was turned away, and may not
	stateUnused = "unused"      // of a grant: nobody was let in by it
)

// state is how somebody stands to a tool.
func (p *Person) state() string {
	switch {
	case p.IsIdle:
		return stateIdle
	case p.May != "":
		return stateActive
	case p.Allowed > 0:
		return stateFormer
	}
	return stateDenied
}

// WriteCSV writes the report as CSV (RFC 4180): for each tool a row for every person
// who opened it, tried to, or may and has not for long, and one for every grant that
// let nobody in. Values are safe in a spreadsheet: see [audit.Cell].
func (r *Report) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	_ = out.Write(csvHead) // Error has it
	for i := range r.Tools {
		t := &r.Tools[i]
		for _, p := range t.everybody() {
			_ = out.Write(cells(t.Name, t.Title, "person", p.Name, strings.Join(p.Groups, " "), p.May, p.state(), number(p.Allowed), instant(p.First), // likewise
				instant(p.Last), strings.Join(p.Rules, " "), number(p.Denied), instant(p.LastDenied)))
		}
		for _, g := range t.Unused {
			_ = out.Write(cells(t.Name, t.Title, g.Kind, g.Name, "", g.Part, stateUnused, "0", "", "", "", "", "")) // likewise
		}
	}
	out.Flush()
	return out.Error()
}

// everybody are the people of a tool, and behind them those who may and were not there
// at all.
func (t *ToolUse) everybody() []Person {
	all := t.People
	known := make(map[string]bool)
	for _, p := range all {
		known[p.Name] = true
	}
	for _, p := range t.Idle {
		if !known[p.Name] {
			all = append(all[:len(all):len(all)], p)
		}
	}
	return all
}

func cells(values ...string) []string {
	for i, v := range values {
		values[i] = audit.Cell(v)
	}
	return values
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
