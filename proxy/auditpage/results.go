package auditpage

import (
	"context"
	"slices"
	"strconv"
	"time"
)

// pageSize is how many records a page shows.
const pageSize = 50

// results is the page of a search.
type results struct {
	Form   form
	Chips  []chip
	Chart  *chart
	Rows   []row
	Extent Extent
	// Older and Newest lead on; empty for nowhere.
	Older, Newest string
	CSV, JSON     string // addresses of exports; empty where there is nothing to export
	Started       bool   // there are records at all
}

// form is what the fields of the search show.
type form struct {
	Action    string
	Value     map[string]string
	Fault     map[string]string
	Last      string
	Decisions []string
	Ranges    []Range
	More      bool // one of the fields is given that are folded away
}

// folded are the fields that few need.
var folded = []string{paramAddress, paramReason, paramRule, paramPath, paramRequest, paramSession, paramAction, paramFrom, paramUntil}

// form shows what is looked for, and what is wrong with it.
func (v *visit) form() form {
	f := form{
		Action: v.page.address(v.path, ""), Value: map[string]string{}, Fault: map[string]string{}, Last: v.asked.last, Decisions: decisions, Ranges: ranges,
	}
	for name := range v.asked.values {
		f.Value[name] = v.asked.values.Get(name)
		f.More = f.More || slices.Contains(folded, name)
	}
	for _, wrong := range v.asked.faults {
		f.Fault[wrong.Param] = wrong.Message
		f.More = f.More || slices.Contains(folded, wrong.Param)
	}
	return f
}

// chip is one thing that is looked for, and the address without it.
type chip struct{ Name, Value, Without string }

// labels are what parameters are called on a page, in their order there.
var labels = []struct{ param, label string }{
	{paramPerson, "Person"}, {paramTool, "Tool"}, {paramDecision, "Decision"}, {paramAddress, "Address"}, {paramReason, "Reason"}, {paramRule, "Rule"},
	{paramPath, "Path"}, {paramRequest, "Request"}, {paramSession, "Session"}, {paramAction, "Action"}, {paramFrom, "From"}, {paramUntil, "Until"},
}

func (v *visit) chips() []chip {
	var chips []chip
	for _, l := range labels {
		if value := v.asked.values.Get(l.param); value != "" {
			chips = append(chips, chip{l.label, value, v.page.address(v.path, v.asked.with(l.param, ""))})
		}
	}
	return chips
}

// row is one record on a page.
type row struct {
	Record
	At, Day, Clock       string // when it was, for programs and for people
	Target               string // what was asked for, at which host
	PersonURL, ToolURL   string
	Denied, Failed, Mark bool
	Members              []rowMember
}

// rowMember is a member of a record, and where all that have it are found.
type rowMember struct{ Name, Value, URL string }

func (v *visit) row(r *Record) row {
	at := r.Time.UTC()
	out := row{
		Record: *r, At: at.Format(time.RFC3339Nano), Day: at.Format("2006-01-02"), Clock: at.Format("15:04:05.000"),
		Target: r.Host + r.Path, Denied: r.Denied(), Failed: len(r.Code) == 3 && r.Code[0] == '5',
	}
	if r.Person != "" {
		out.PersonURL = v.page.address(pathSearch, pivot(&v.asked, paramPerson, r.Person))
	}
	if r.Tool != "" {
		out.ToolURL = v.page.address(pathSearch, pivot(&v.asked, paramTool, r.Tool))
	}
	for _, m := range r.members(&v.asked) {
		address := ""
		if m.Query != "" {
			address = v.page.address(pathSearch, m.Query)
		}
		out.Members = append(out.Members, rowMember{m.Name, m.Value, address})
	}
	return out
}

// search fills the page of a search.
func (v *visit) search(ctx context.Context) (title string, data any, err error) {
	p := v.page
	out := results{Form: v.form(), Chips: v.chips()}
	if out.Extent, err = p.cfg.Store.Extent(ctx); err != nil {
		return "", nil, err
	}
	out.Started = out.Extent.Count > 0
	if len(v.asked.faults) > 0 {
		return "Access log", out, nil
	}
	found, more, err := p.cfg.Store.Find(ctx, &v.asked.Search, v.asked.before, pageSize)
	if err != nil {
		return "", nil, err
	}
	for i := range found {
		out.Rows = append(out.Rows, v.row(&found[i]))
	}
	if more {
		out.Older = p.address(pathSearch, v.asked.with(paramBefore, strconv.FormatUint(found[len(found)-1].Position, 10)))
	}
	if v.asked.before > 0 {
		out.Newest = p.address(pathSearch, v.asked.values.Encode())
	}
	if len(found) > 0 {
		out.CSV, out.JSON = p.address(pathCSV, v.asked.values.Encode()), p.address(pathJSON, v.asked.values.Encode())
		if out.Chart, err = v.chart(ctx, out.Extent); err != nil {
			return "", nil, err
		}
	}
	return "Access log", out, nil
}
