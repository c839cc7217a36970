package header

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Names of ours by which the gateway speaks to a sidecar. They end there.
const (
	// SetNames lists what a request tells beside the names that are always carried:
	// "X-My-User,X-My-Group=3", with how many lines there are if there are several.
	SetNames = "X-Sallyport-Set"
	// Person is who the request is of, for the sidecar's log, where the application is
	// told under another name than [User], or not at all.
	Person = "X-Sallyport-Person"
	// Trace is the trace context of a request as a traceparent (W3C Trace Context), if it
	// is the gateway's own and not what the client has sent.
	Trace = "X-Sallyport-Trace"
)

// carried are the names that a sidecar takes over from the gateway unasked.
var carried = [...]string{
	User, Email, Groups, PreferredUsername, Assertion,
	ForwardedFor, ForwardedHost, ForwardedProto, ForwardedPrefix, RequestID,
}

// maxSet bounds the names in [SetNames], and maxLines the lines of each.
const (
	maxSet   = 64
	maxLines = 10_000
)

// ListError says that [SetNames] is not what a gateway writes. The request must be refused.
type ListError struct {
	// Entry is the number of the entry that is at fault, from 1.
	Entry int
	// Err says what is wrong with it.
	Err error
}

// Error names the entry and the fault.
func (e *ListError) Error() string {
	return fmt.Sprintf("header %s, entry %d: %v", SetNames, e.Entry, e.Err)
}

// Unwrap returns Err.
func (e *ListError) Unwrap() error { return e.Err }

// Carry strips out and then gives it the managed headers of in, which must come from a
// peer that mutual TLS has verified to be the gateway: those that are always carried, and
// those that the gateway says it has set. Each may occur once at most, or as often as
// the gateway says: any other number is a fault of the peer and ends in an
// *AmbiguousError, a list that no gateway writes in a *ListError, with out stripped and
// nothing set. The values are shared between both.
//
// in and out may be the same map.
func Carry(out, in http.Header) error {
	var buf [len(carried) + 8]line
	lines, err := collect(buf[:0], in)
	Strip(out)
	if err != nil {
		return err
	}
	for _, l := range lines {
		out[l.name] = l.values
	}
	return nil
}

// Check returns the error that Carry would.
func Check(in http.Header) error {
	var buf [len(carried) + 8]line
	_, err := collect(buf[:0], in)
	return err
}

// PersonOf returns who a request of the gateway's is of.
func PersonOf(in http.Header) string { return cmp.Or(in.Get(Person), in.Get(User)) }

// collect appends what is carried of in to lines.
func collect(lines []line, in http.Header) ([]line, error) {
	lists := in[SetNames]
	if len(lists) > 1 || len(in[Person]) > 1 {
		return nil, &AmbiguousError{Name: SetNames, Count: max(len(lists), len(in[Person]))}
	}
	var said map[string]int
	if len(lists) == 1 {
		var err error
		if said, err = parseSet(lists[0]); err != nil {
			return nil, err
		}
	}
	for _, name := range carried {
		if _, again := said[name]; again {
			continue
		}
		switch vv := in[name]; {
		case len(vv) > 1:
			return nil, &AmbiguousError{Name: name, Count: len(vv)}
		case len(vv) == 1 && vv[0] != "":
			lines = append(lines, line{name, vv})
		}
	}
	for name, count := range said {
		vv := in[name]
		if len(vv) != count {
			return nil, &AmbiguousError{Name: name, Count: len(vv)}
		}
		lines = append(lines, line{name, vv})
	}
	return lines, nil
}

// parseSet returns the names of a list, and how often each must occur.
func parseSet(list string) (map[string]int, error) {
	said := map[string]int{}
	entries := strings.Split(list, ",")
	if len(entries) > maxSet {
		return nil, &ListError{Entry: maxSet + 1, Err: fmt.Errorf("expected at most %d entries", maxSet)}
	}
	for i, entry := range entries {
		name, count, err := parseEntry(entry)
		if err == nil && said[name] > 0 {
			err = fmt.Errorf("expected each name once")
		}
		if err != nil {
			return nil, &ListError{Entry: i + 1, Err: err}
		}
		said[name] = count
	}
	return said, nil
}

// parseEntry takes NAME or NAME=LINES apart. Only the spelling that a gateway writes is
// taken.
func parseEntry(entry string) (name string, count int, err error) {
	name, times, several := strings.Cut(entry, "=")
	if err := Settable(name); err != nil {
		return "", 0, fmt.Errorf("expected a name that a route may set: %w", err)
	}
	if canonical(name) != name {
		return "", 0, fmt.Errorf("expected the canonical spelling")
	}
	if !several {
		return name, 1, nil
	}
	count, err = strconv.Atoi(times)
	if err != nil || count < 2 || count > maxLines || strconv.Itoa(count) != times {
		return "", 0, fmt.Errorf("expected 2 to %d lines", maxLines)
	}
	return name, count, nil
}

// Strip removes from h every header by which a client could pass for somebody
// else or for another place, in whatever spelling, and reports how many names
// it removed. The caller sets its own values afterwards. Strip leaves
// Authorization and Cookie alone; they have owners of their own. It is for trailers as
// much as for headers.
func Strip(h http.Header) (removed int) {
	for name := range h {
		if !harmless(name) && (Managed(name) || !plain(name)) {
			delete(h, name)
			removed++
		}
	}
	return removed
}

// StripResponse removes from an answer's header every managed name: an
// application has nothing to say under them.
func StripResponse(h http.Header) {
	for name := range h {
		if Managed(name) {
			delete(h, name)
		}
	}
}
