package auditpage

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
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

// chip is one thing that is looked for, and the address without it.
type chip struct{ Name, Value, Without string }

func (v *visit) chips() []chip {
	var chips []chip
	for _, f := range fields {
		if value := v.asked.values.Get(f.param); value != "" && f.param != paramLast && !v.without(f.param) {
			chips = append(chips, chip{f.label, value, v.page.address(v.path, v.asked.with(f.param, ""))})
		}
	}
	return chips
}

// row is one record on a page.
type row struct {
	At, Day, Clock                   string // when it was, for programs and for people
	Person, PersonURL, Tool, ToolURL string
	Action, Decision, Reason, Rule   string
	Method, Target, Code             string // Target is what was asked for, at which host
	Address, Request                 string
	Denied, Failed                   bool
	Members                          []rowMember
}

// rowMember is a member of a record, and where all that have it are found.
type rowMember struct{ Name, Value, URL string }

// rowOf is a record without its members and addresses.
func rowOf(e *audit.Entry) row {
	code := e.Value(audit.Status)
	return row{
		At: e.Time.Format(time.RFC3339Nano), Day: e.Time.Format(time.DateOnly), Clock: e.Time.Format("15:04:05.000"),
		Person: e.Value(audit.User), Tool: e.Value(audit.Route), Action: e.Value(audit.Action), Decision: e.Value(audit.Decision),
		Reason: e.Value(audit.Reason), Rule: e.Value(audit.Rule), Method: e.Value(audit.Method), Target: e.Value(audit.Host) + e.Value(audit.Path),
		Code: code, Address: e.Value(audit.Address), Request: e.Value(audit.RequestID), Denied: denied(e), Failed: len(code) == 3 && code[0] == '5',
	}
}

func (v *visit) row(r *Record) row {
	out := rowOf(&r.Entry)
	if out.Person != "" {
		out.PersonURL = v.page.address(pathSearch, pivot(&v.asked, paramPerson, out.Person))
	}
	if out.Tool != "" {
		out.ToolURL = v.page.address(pathSearch, pivot(&v.asked, paramTool, out.Tool))
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
	out := results{Form: v.form(ctx), Chips: v.chips()}
	if out.Extent, err = p.cfg.Store.Extent(ctx); err != nil {
		return "", nil, err
	}
	out.Started = out.Extent.Count > 0
	if len(v.asked.faults) > 0 {
		return "Access log", out, nil
	}
	found, end, err := p.cfg.Store.Find(ctx, &v.asked.Search, v.asked.before, pageSize)
	if err != nil {
		return "", nil, err
	}
	for i := range found {
		out.Rows = append(out.Rows, v.row(&found[i]))
	}
	if end != "" {
		out.Older = p.address(pathSearch, v.asked.with(paramBefore, end))
	}
	if v.asked.before != "" {
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
