package auditpage

import (
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Record is one line of the access log. It is immutable.
type Record struct {
	audit.Entry
	// Position orders the records of [Recent]: a later one has a larger one.
	Position uint64
}

// size is about what a record takes in memory, in bytes.
func (r *Record) size() int {
	const fixed = 704 // the struct, and what is behind its shorter strings
	return fixed + len(r.Line) + len(r.Value(audit.Path))
}

// decisionDeny is the decision of records in which somebody was turned away.
const decisionDeny = accesslog.DecisionDeny

func denied(e *audit.Entry) bool { return e.Value(audit.Decision) == decisionDeny }

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
	for name, value := range logfile.Members(r.Line) {
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
