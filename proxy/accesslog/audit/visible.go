package audit

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible returns text in which no character acts on a terminal or hides what is
// beside it: each that is not printed as itself stands as \u and its number, as it
// does in the log. Of JSON it makes the same JSON.
func Visible(text string) string {
	if clean(text) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			out.WriteString(`\ufffd`)
		case harmless(r):
			out.WriteString(text[i : i+size])
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		i += size
	}
	return out.String()
}

// clean reports whether text has nothing but printable ASCII, as most has.
func clean(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return true
}

// harmless reports whether r only looks like itself, and like something.
func harmless(r rune) bool {
	const brailleBlank = '\u2800'
	return unicode.IsPrint(r) && r != brailleBlank && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Cell returns a value for a table that a spreadsheet may open: visible, and nothing
// that the spreadsheet would calculate. What begins like a formula gets an apostrophe
// before it; so does what follows a semicolon, at which spreadsheets of some languages
// divide a line.
func Cell(value string) string {
	parts := strings.SplitAfter(Visible(value), ";")
	for i, part := range parts {
		first, _ := utf8.DecodeRuneInString(strings.TrimLeft(part, " "))
		if part != "" && strings.ContainsRune(formula, first) {
			parts[i] = "'" + part
		}
	}
	return strings.Join(parts, "")
}

// formula is what formulas begin with; the full-width forms count as the others do in some
// spreadsheets.
const formula = "=+-@\t\r\n|%＝＋－＠"
