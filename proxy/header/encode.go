package header

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Values says what becomes of a value that cannot stand in a header as it is.
type Values uint8

// The ways. The zero value writes it so that it can be read back.
const (
	// PercentEncode writes bytes that are not visible ASCII, and "%", as [Encode] does.
	PercentEncode Values = iota
	// Refuse tells nothing of somebody of whom anything would have to be encoded.
	Refuse
	// UTF8 leaves letters of other alphabets as they are. What a tool makes of them is
	// not defined: many read them as Latin-1, and some take two names for one.
	UTF8
)

// write makes s safe as a header value, and reports whether anything had to be
// encoded. separator is encoded as well; it is empty for what is no list.
func (v Values) write(s, separator string) (written string, changed bool) {
	written = Encode(s)
	if v == UTF8 {
		written = encodeUTF8(s)
	}
	if separator != "" && strings.Contains(written, separator) {
		c := separator[0]
		written = strings.ReplaceAll(written, separator, string([]byte{'%', upperHex[c>>4], upperHex[c&15]}))
	}
	return written, written != s
}

// encodeUTF8 is Encode that leaves what is a letter, a digit or another visible sign in
// UTF-8.
func encodeUTF8(s string) string {
	if encoded(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if size > 1 && unicode.IsGraphic(r) && !unicode.IsSpace(r) {
			b.WriteString(s[i : i+size])
		} else {
			encodeBytes(&b, s, i, i+size)
		}
		i += size
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

// Encode makes s safe as a header value, one to one: visible ASCII and inner
// blanks stay, every other byte and "%" become %XX (RFC 3986 section 2.1), so
// two different identities never look the same to a backend.
func Encode(s string) string {
	if encoded(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	encodeBytes(&b, s, 0, len(s))
	return b.String()
}

// encodeBytes appends s[from:to] as Encode writes it.
func encodeBytes(b *strings.Builder, s string, from, to int) {
	for i := from; i < to; i++ {
		if c := s[i]; keeps(s, i) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
}

// encoded reports whether Encode would return s unchanged.
func encoded(s string) bool {
	for i := range len(s) {
		if !keeps(s, i) {
			return false
		}
	}
	return true
}

// keeps reports whether byte i of s may stand in a header value as it is. A
// blank at either end may not: HTTP trims it on the way.
func keeps(s string, i int) bool {
	c := s[i]
	if c == ' ' {
		return i > 0 && i < len(s)-1
	}
	return c > ' ' && c < 0x7f && c != '%'
}
