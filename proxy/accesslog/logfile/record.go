package logfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Instance is the id of one run of a process: 26 of a-z and 2-7. Its zero value is
// no instance.
type Instance [26]byte

// String is the id as it stands in a record.
func (i Instance) String() string { return string(i[:]) }

// ParseInstance reads an id.
func ParseInstance(text string) (i Instance, err error) {
	if !isInstance([]byte(text)) {
		return i, fmt.Errorf("instance %.40q: expected 26 of a-z and 2-7", text)
	}
	copy(i[:], text)
	return i, nil
}

func isInstance(text []byte) bool {
	if len(text) != len(Instance{}) {
		return false
	}
	for _, c := range text {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// Hash is the SHA-256 of a record.
type Hash [sha256.Size]byte

// String is the hash as it stands in a record: base64url without padding.
func (h Hash) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// ParseHash reads a hash.
func ParseHash(text string) (h Hash, err error) {
	if len(text) != hashLength || !h.decode([]byte(text)) {
		return h, fmt.Errorf("hash %.60q: expected %d characters of base64url", text, hashLength)
	}
	return h, nil
}

// hashLength is the length of a hash in a record.
const hashLength = 43

func (h *Hash) decode(text []byte) bool {
	n, err := base64.RawURLEncoding.Strict().Decode(h[:], text)
	return err == nil && n == len(h)
}

// Record is a sealed record.
type Record struct {
	// JSON is the record as it was sealed: what the hash is of. It is valid as long as
	// the line that it was found in.
	JSON []byte
	// Instance is whose record it is, and Sequence its number, from 1.
	Instance Instance
	Sequence uint64
	// Previous is the hash of the record before it; of zeros in the first one.
	Previous Hash
}

// Hash returns the hash of the record.
func (r Record) Hash() Hash { return sha256.Sum256(r.JSON) }

// Kind is what a line holds.
type Kind uint8

// The kinds of lines.
const (
	// Blank is a line without anything: whoever repairs a torn line may leave one.
	Blank Kind = iota
	// Sealed is a sealed record and nothing else.
	Sealed
	// Prefixed is a sealed record behind something else: the header of a syslog
	// message, or a line of another process that broke off.
	Prefixed
	// Unsealed is a record that is not sealed.
	Unsealed
	// Torn is the beginning of a record.
	Torn
	// Foreign is anything else.
	Foreign
)

// String names the kind.
func (k Kind) String() string {
	return [...]string{"blank", "sealed", "prefixed", "unsealed", "torn", "foreign"}[k]
}

// begin is how every record begins. It stands nowhere else in a record: a quote
// within a value is escaped.
const begin = `{"@timestamp":"`

// Parse says what a line holds, and returns the record if it is Sealed or Prefixed.
// It looks at the beginning and at the end alone: whether what lies between is the
// JSON that was once written only the hash of the record says.
func Parse(line []byte) (Record, Kind) {
	text := bytes.TrimRight(line, " \r\t")
	if len(text) == 0 {
		return Record{}, Blank
	}
	at := bytes.Index(text, []byte(begin))
	if at >= 0 {
		for more := 0; more >= 0; {
			if more = bytes.Index(text[at+len(begin):], []byte(begin)); more >= 0 {
				at += len(begin) + more
			}
		}
		if r, ok := unseal(text[at:]); ok {
			return r, kindAt(at)
		}
	}
	switch {
	case at < 0 && bytes.HasPrefix([]byte(begin), text):
		return Record{}, Torn
	case !bytes.HasPrefix(text, []byte(begin)):
		return Record{}, Foreign
	case json.Valid(text):
		return Record{}, Unsealed
	}
	return Record{}, Torn
}

// kindAt is the kind of a line in which a sealed record begins at a place.
func kindAt(at int) Kind {
	if at > 0 {
		return Prefixed
	}
	return Sealed
}

// The last members of a record, in their order.
const (
	instanceMember = `,"sallyport.log.instance":"`
	sequenceMember = `","sallyport.log.sequence":`
	previousMember = `,"sallyport.log.previous":"`
	end            = `"}`
)

// unseal reads the last three members from the end of a record. They cannot be
// forged by a value: a quote within one is escaped.
func unseal(text []byte) (r Record, ok bool) {
	rest, ok := bytes.CutSuffix(text, []byte(end))
	if !ok || len(rest) < hashLength || !r.Previous.decode(rest[len(rest)-hashLength:]) {
		return r, false
	}
	if rest, ok = bytes.CutSuffix(rest[:len(rest)-hashLength], []byte(previousMember)); !ok {
		return r, false
	}
	if rest, r.Sequence, ok = cutNumber(rest); !ok {
		return r, false
	}
	if rest, ok = bytes.CutSuffix(rest, []byte(sequenceMember)); !ok || len(rest) < len(r.Instance) {
		return r, false
	}
	instance := rest[len(rest)-len(r.Instance):]
	if !isInstance(instance) || !bytes.HasSuffix(rest[:len(rest)-len(instance)], []byte(instanceMember)) {
		return r, false
	}
	copy(r.Instance[:], instance)
	r.JSON = text
	return r, true
}

// cutNumber cuts a number from 1 to the largest of 64 bits, written the one way that
// there is, off the end of text.
func cutNumber(text []byte) (rest []byte, n uint64, ok bool) {
	at := len(text)
	for at > 0 && text[at-1] >= '0' && text[at-1] <= '9' {
		at--
	}
	digits := text[at:]
	if len(digits) == 0 || len(digits) > 20 || digits[0] == '0' {
		return nil, 0, false
	}
	for _, c := range digits {
		d := uint64(c - '0')
		if n > (1<<64-1-d)/10 {
			return nil, 0, false
		}
		n = n*10 + d
	}
	return text[:at], n, true
}

// TimeFormat is how times stand in a record, always in UTC and always as wide.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

// RawTime returns "@timestamp" as it stands in a record: times compare as bytes do.
func (r Record) RawTime() []byte { return rawTime(r.JSON) }

func rawTime(record []byte) []byte {
	if len(record) < len(begin)+len(TimeFormat) {
		return nil
	}
	return record[len(begin) : len(begin)+len(TimeFormat)]
}

// Time returns "@timestamp", or the zero time if there is none.
func (r Record) Time() time.Time {
	t, err := time.Parse(TimeFormat, string(r.RawTime()))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Action returns "event.action", or "".
func (r Record) Action() string { return Text(r.Member("event.action")) }

// Member returns the value of a member of the record as it stands there, or nil. It
// finds the first one of that name without parsing what is before it, and takes
// members of an object within the record for the record's own: use Members where
// the record was not verified and that matters.
func (r Record) Member(name string) []byte {
	var key [64]byte
	k := append(append(append(key[:0], '"'), name...), '"', ':')
	for text := r.JSON; ; {
		at := bytes.Index(text, k)
		if at < 0 {
			return nil
		}
		// Before a name stands a comma or a brace; before what a value says, a backslash.
		if at > 0 && (text[at-1] == ',' || text[at-1] == '{') {
			return text[at+len(k) : at+len(k)+valueLength(text[at+len(k):])]
		}
		text = text[at+len(k):]
	}
}

// ErrMalformed is a record that is not one JSON object, or that has a name twice.
var ErrMalformed = errors.New("malformed record")

// Decode parses the whole record, numbers as json.Number.
func (r Record) Decode() (map[string]any, error) { return Decode(r.JSON) }

// Decode parses a record, sealed or not, numbers as json.Number. A name that is
// there twice is an error: readers would differ about what the record says.
func Decode(record []byte) (map[string]any, error) {
	names := make(map[string]bool)
	for name := range Members(record) {
		if names[name] {
			return nil, fmt.Errorf("%w: %q is there twice", ErrMalformed, name)
		}
		names[name] = true
	}
	d := json.NewDecoder(bytes.NewReader(record))
	d.UseNumber()
	var members map[string]any
	if err := d.Decode(&members); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if d.More() || members == nil || len(members) != len(names) {
		return nil, fmt.Errorf("%w: expected one object", ErrMalformed)
	}
	return members, nil
}
