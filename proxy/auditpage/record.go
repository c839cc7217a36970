package auditpage

import (
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Record is one line of the access log, with what is looked for taken out of it. It is
// immutable.
type Record struct {
	// Position orders the records of a Store: a later one has a larger one.
	Position uint64
	// Line is the whole record as it was written, without its line break.
	Line string

	Time                              time.Time
	Action, Decision, Reason, Rule    string
	Person, Tool, Session, Request    string
	Method, Host, Path, Address, Code string
	// Instance and Sequence are the record's place in the chain; empty and 0 where there
	// is none.
	Instance string
	Sequence uint64
}

// parseRecord reads a line, and reports whether it is a record.
func parseRecord(line string) (r Record, ok bool) {
	r.Line = line
	for name, value := range logfile.Members([]byte(line)) {
		if to := r.member(name); to != nil {
			*to = logfile.Text(value)
			continue
		}
		switch name {
		case "@timestamp":
			r.Time, _ = time.Parse(logfile.TimeFormat, logfile.Text(value)) // the zero time is none
		case "http.response.status_code":
			r.Code = string(value)
		case "sallyport.log.sequence":
			r.Sequence = uint64(max(0, logfile.Number(value)))
		}
	}
	return r, !r.Time.IsZero()
}

// member is where the text of a member belongs, or nil.
func (r *Record) member(name string) *string {
	switch name {
	case "event.action":
		return &r.Action
	case "sallyport.decision":
		return &r.Decision
	case "event.reason":
		return &r.Reason
	case "rule.name":
		return &r.Rule
	case "user.name":
		return &r.Person
	case "sallyport.route":
		return &r.Tool
	case "sallyport.session.id":
		return &r.Session
	case "http.request.id":
		return &r.Request
	case "http.request.method":
		return &r.Method
	case "url.domain":
		return &r.Host
	case "url.path":
		return &r.Path
	case "client.address":
		return &r.Address
	case "sallyport.log.instance":
		return &r.Instance
	}
	return nil
}

// size is about what a record takes in memory, in bytes.
func (r *Record) size() int {
	const fixed = 320 // the struct, and the beginnings of its strings
	return fixed + len(r.Line) + len(r.Path) + len(r.Request) + len(r.Host)
}

// Denied reports whether somebody was turned away.
func (r *Record) Denied() bool { return r.Decision == "deny" }

// member is one of a record, for reading.
type member struct {
	Name, Value string
	// Query looks for all records that have the same; empty where none can.
	Query string
}

// searchable are the members that can be looked for, and by which parameter.
var searchable = map[string]string{
	"user.name": paramPerson, "sallyport.route": paramTool, "client.address": paramAddress, "sallyport.decision": paramDecision,
	"event.reason": paramReason, "rule.name": paramRule, "sallyport.session.id": paramSession, "http.request.id": paramRequest,
	"url.path": paramPath, "event.action": paramAction,
}

// members are all members of a record, in their order, as a person reads them.
func (r *Record) members(a *asked) []member {
	var all []member
	for name, value := range logfile.Members([]byte(r.Line)) {
		m := member{Name: name, Value: readable(name, value)}
		if param := searchable[name]; param != "" && m.Value != "" && len(m.Value) <= maxTerm {
			m.Query = pivot(a, param, m.Value)
		}
		all = append(all, m)
	}
	return all
}

// pivot returns the query of an address that looks for one value alone, in the same
// range of time.
func pivot(a *asked, param, value string) string {
	only := asked{values: map[string][]string{}}
	for _, name := range []string{paramLast, paramFrom, paramUntil} {
		if given := a.values[name]; given != nil {
			only.values[name] = given
		}
	}
	return only.with(param, value)
}

// readable is a JSON value as a person reads it.
func readable(name string, value []byte) string {
	switch {
	case len(value) == 0:
		return ""
	case value[0] == '"':
		return logfile.Text(value)
	case name == "event.duration" || name == "sallyport.upstream.duration":
		return took(time.Duration(logfile.Number(value)))
	case strings.HasSuffix(name, ".bytes"):
		return grouped(logfile.Number(value)) + " bytes"
	}
	return strings.ReplaceAll(string(value), `","`, `", "`)
}

// took is a duration as short as it can be told.
func took(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.String()
}

// grouped is a number with its digits in groups of three.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString("\u202f") // a narrow space that does not break
		}
		b.WriteByte(digits[i])
	}
	return sign + b.String()
}
