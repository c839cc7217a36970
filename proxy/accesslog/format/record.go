package format

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// member is one of a record: its name, and its value as JSON.
type member struct {
	name  string
	value []byte
	used  bool // it has found its place
}

// record is a line that is being written in another format.
type record struct {
	members []member
}

// mostMembers is more than any record has.
const mostMembers = 64

// read takes a line apart, or reports that it is no record.
func read(line []byte) (*record, bool) {
	if !json.Valid(line) || line[0] != '{' || bytes.IndexByte(line, '\n') >= 0 {
		return nil, false
	}
	r := &record{members: make([]member, 0, mostMembers)}
	for name, value := range logfile.Members(line) {
		if r.find(name) < 0 && len(r.members) < mostMembers { // the first counts, should there be two
			r.members = append(r.members, member{name: name, value: value})
		}
	}
	return r, r.find("event.action") >= 0 && r.find("@timestamp") >= 0
}

func (r *record) find(name string) int {
	for i := range r.members {
		if r.members[i].name == name {
			return i
		}
	}
	return -1
}

// raw returns a value as JSON, nil if there is none, and notes that it has its place.
func (r *record) raw(name string) []byte {
	i := r.find(name)
	if i < 0 {
		return nil
	}
	r.members[i].used = true
	return r.members[i].value
}

// text returns what a string says.
func (r *record) text(name string) string { return logfile.Text(r.raw(name)) }

// number returns a whole number.
func (r *record) number(name string) int64 { return logfile.Number(r.raw(name)) }

// peek is text that leaves the member to go elsewhere, too.
func (r *record) peek(name string) string {
	if i := r.find(name); i >= 0 {
		return logfile.Text(r.members[i].value)
	}
	return ""
}

// peekNumber is number that does so.
func (r *record) peekNumber(name string) int64 {
	if i := r.find(name); i >= 0 {
		return logfile.Number(r.members[i].value)
	}
	return 0
}

// time returns when it was.
func (r *record) time() time.Time {
	at, _ := time.Parse(time.RFC3339Nano, r.text("@timestamp")) // of no record of ours
	return at.UTC()
}
