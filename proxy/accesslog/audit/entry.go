package audit

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Entry is a record of the log, decoded. It holds no memory of whoever read it.
type Entry struct {
	// Time is "@timestamp", in UTC.
	Time time.Time
	// Sequence is the record's number in its instance; 0 for one that is not sealed.
	Sequence uint64
	// Groups are "user.roles".
	Groups []string
	// Duration is from the arrival of the request to its last byte.
	Duration time.Duration
	// BytesIn and BytesOut are of bodies.
	BytesIn, BytesOut int64
	// Line is the record as it stands in the file, without a line break. No character of
	// it acts on a terminal if it is ours; whoever could write to the file could write
	// anything.
	Line []byte

	values [Fields]string
}

// Value returns the value of a field, "" where the record has none.
func (e *Entry) Value(f Field) string {
	if f < Fields {
		return e.values[f]
	}
	return NameOf(f, e.Time)
}

// NameOf returns what the hour or the day of a time is called, "" for another field.
func NameOf(f Field, t time.Time) string {
	switch f {
	case Hour:
		return t.UTC().Format("2006-01-02T15")
	case Day:
		return t.UTC().Format(time.DateOnly)
	}
	return ""
}

// Decode returns the entry of a line without its line break, and false for a line
// that is no record. A record behind the header of a syslog message counts.
func Decode(line []byte) (Entry, bool) {
	var e Entry
	text, t, ok := Record(line)
	if !ok {
		return e, false
	}
	e.Time, e.Line = time.UnixMicro(t).UTC(), bytes.Clone(text)
	for name, value := range logfile.RawMembers(e.Line) {
		if field, known := FieldOf(name); known {
			if e.values[field] == "" {
				e.values[field] = plain(value)
			}
			continue
		}
		switch string(name) {
		case SequenceMember:
			e.Sequence = Sequence(value)
		case "event.duration":
			e.Duration = time.Duration(logfile.Number(value))
		case "http.request.body.bytes":
			e.BytesIn = logfile.Number(value)
		case "http.response.body.bytes":
			e.BytesOut = logfile.Number(value)
		case "user.roles":
			_ = json.Unmarshal(value, &e.Groups) // a damaged list is none
		}
	}
	return e, true
}

// SequenceMember is the name under which a record has its number.
const SequenceMember = "sallyport.log.sequence"

// Sequence returns the number of a record, 0 for none.
func Sequence(value []byte) uint64 {
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Record returns the record that a line holds, a part of line, and its time in
// microseconds since 1970, and false for a line without one.
func Record(line []byte) (text []byte, micros int64, ok bool) {
	r, kind := logfile.Parse(line)
	switch kind {
	case logfile.Sealed, logfile.Prefixed:
		text = r.JSON
	case logfile.Unsealed:
		text = bytes.TrimRight(line, " \r\t")
	default:
		return nil, 0, false
	}
	t, err := time.Parse(`{"@timestamp":"`+logfile.TimeFormat+`"`, string(text[:min(len(text), len(logfile.TimeFormat)+16)]))
	if err != nil {
		return nil, 0, false
	}
	return text, t.UnixMicro(), true
}

// plain returns what a value says: of a string its characters, of anything else what
// stands there.
func plain(value []byte) string {
	if len(value) > 0 && value[0] == '"' {
		return logfile.Text(value)
	}
	return string(value)
}

// Member returns the value of any member of the record: of a string its characters,
// of anything else what stands there; "" for none.
func (e *Entry) Member(name string) string {
	for n, value := range logfile.Members(e.Line) {
		if n == name {
			return plain(value)
		}
	}
	return ""
}
