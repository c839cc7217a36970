package header

import (
	"net/http"
	"strings"
)

// way are the names of those that are carried which say nothing about who somebody is.
var way = [...]string{Assertion, ForwardedFor, ForwardedHost, ForwardedProto, ForwardedPrefix, RequestID}

// CarryAs is the function [Carry] for an application that is told who asks by card, a
// card of t, and not as the gateway has told it: of in only the headers are carried that
// say something else. out is stripped of what cards of t may say, and of what the gateway
// says that it has set.
func (t *Template) CarryAs(card *Card, out, in http.Header) error {
	var buf [len(way)]line
	lines := buf[:0]
	err := Check(in)
	for _, name := range way {
		if vv := in[name]; len(vv) == 1 && vv[0] != "" {
			lines = append(lines, line{name, vv})
		}
	}
	t.Strip(out)
	if err != nil {
		return err
	}
	withoutSet(out, in)
	for _, l := range lines {
		out[l.name] = l.values
	}
	card.Tell(out)
	return nil
}

// withoutSet removes from out what the gateway says it has set, under names that nobody
// else manages. in is as [Check] has found it good.
func withoutSet(out, in http.Header) {
	for _, list := range in[SetNames] {
		said, _ := parseSet(list)
		for name := range said {
			delete(out, name)
		}
	}
}

// Told is who a request of the gateway's is of, as it says it under the names of
// [XForwarded]: the reverse of what a [Template] of that profile writes, as long as it
// joins groups with a comma. The zero Identity is nobody.
func Told(in http.Header) Identity {
	id := Identity{User: Decode(PersonOf(in)), Email: Decode(in.Get(Email)), Name: Decode(in.Get(PreferredUsername))}
	if groups := in.Get(Groups); groups != "" {
		for group := range strings.SplitSeq(groups, ",") {
			id.Groups = append(id.Groups, Decode(group))
		}
	}
	return id
}

// Says reports whether value is how a header says s, in one of the ways of [Values].
func Says(value, s string) bool { return value == Encode(s) || value == encodeUTF8(s) }

// Decode is the reverse of [Encode], and of what [UTF8] writes. What neither has written
// stays as it is.
func Decode(value string) string {
	if !strings.Contains(value, "%") {
		return value
	}
	var b strings.Builder
	b.Grow(len(value))
	for i := 0; i < len(value); i++ {
		if high, low := digit(value, i+1), digit(value, i+2); value[i] == '%' && high >= 0 && low >= 0 {
			b.WriteByte(byte(high<<4 | low)) //nolint:gosec // two digits
			i += 2
		} else {
			b.WriteByte(value[i])
		}
	}
	return b.String()
}

// digit is the value of the hexadecimal digit at i, -1 if there is none.
func digit(s string, i int) int {
	if i >= len(s) {
		return -1
	}
	return strings.IndexByte(upperHex, s[i])
}
