package otlp

import (
	"bytes"
	"encoding/hex"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// scope names the instrumentation to the collector.
const scope = "github.com/sallyport/sallyport/proxy/accesslog"

// attributes are those members of a record by which somebody searches. Everything else is
// in the body, which is the record as it was sealed.
var attributes = map[string]bool{
	"event.category": true, "event.outcome": true, "event.reason": true, "event.duration": true,
	"http.request.id": true, "http.request.method": true, "http.response.status_code": true,
	"url.domain": true, "client.address": true, "source.address": true, "server.address": true,
	"user.name": true, "rule.name": true,
	"sallyport.decision": true, "sallyport.route": true, "sallyport.session.id": true,
	"sallyport.log.sequence": true, "sallyport.log.dropped": true,
}

// severity is a SeverityNumber.
type severity uint64

// Severities of records, by their outcome.
const (
	inform severity = 9
	warn   severity = 13
	alarm  severity = 17
)

// String is the short name of a severity.
func (n severity) String() string {
	switch n {
	case alarm:
		return "ERROR"
	case warn:
		return "WARN"
	}
	return "INFO"
}

// record is what a log record is made of. Its slices are parts of a line, and used again
// for the next.
type record struct {
	body       []byte
	time, seen time.Time
	severity   severity
	event      []byte
	trace      []byte // as it stands in the line
	span       []byte
	attributes []member
	process
}

// member is a member of a line, its value as it stands there.
type member struct {
	name  string
	value []byte
}

// process is whose records they are: a spool may hold those of an earlier run.
type process struct{ service, instance string }

// read fills r with what a line, without its line break, says.
func (r *record) read(line []byte, now time.Time) {
	*r = record{body: line, seen: now, severity: inform, attributes: r.attributes[:0], process: r.process}
	for name, value := range logfile.Members(line) {
		switch name {
		case "@timestamp":
			r.time, _ = time.Parse(logfile.TimeFormat, string(plain(value))) // the zero time, if it is none
		case "service.name":
			keep(&r.service, value)
		case "sallyport.log.instance":
			keep(&r.instance, value)
		case "event.action":
			r.event = plain(value)
		case "trace.id":
			r.trace = plain(value)
		case "span.id":
			r.span = plain(value)
		case "event.outcome":
			if string(plain(value)) == "failure" {
				r.severity = warn
			}
		}
		if attributes[name] {
			r.attributes = append(r.attributes, member{name, value})
		}
	}
	if string(r.event) == "log_gap" {
		r.severity = alarm
	}
}

// keep makes value the text that kept holds, which it mostly is already.
func keep(kept *string, value []byte) {
	if text := plain(value); string(text) != *kept {
		*kept = string(text)
	}
}

// plain is what a JSON string says, mostly as it stands there.
func plain(value []byte) []byte {
	if len(value) >= 2 && value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	return []byte(logfile.Text(value))
}

// identifier reads an id of a trace or a span; nil if it is none.
func identifier(text []byte, size int) []byte {
	raw := make([]byte, size)
	if n, err := hex.Decode(raw, text[:min(len(text), 2*size)]); err != nil || n != size || len(text) != 2*size {
		return nil
	}
	return raw
}
