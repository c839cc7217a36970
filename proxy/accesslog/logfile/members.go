package logfile

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
)

// Members yields names and values of a record's own members in order, each value as
// it stands there. It stops where the record is no JSON object any more. Names with
// escapes are not unescaped: ours have none.
func Members(record []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if len(record) == 0 || record[0] != '{' {
			return
		}
		for rest := record[1:]; len(rest) > 0 && rest[0] == '"'; {
			n := stringLength(rest)
			if n < 2 || n >= len(rest) || rest[n] != ':' {
				return
			}
			name, value := rest[1:n-1], rest[n+1:]
			length := valueLength(value)
			if length == 0 || length >= len(value) || !yield(string(name), value[:length]) {
				return
			}
			if value[length] != ',' {
				return
			}
			rest = value[length+1:]
		}
	}
}

// valueLength returns the length of the JSON value that text begins with, without
// white space; of a damaged one, up to where it ends.
func valueLength(text []byte) int {
	if len(text) == 0 {
		return 0
	}
	switch text[0] {
	case '"':
		return stringLength(text)
	case '{', '[':
		return nestedLength(text)
	}
	for i, c := range text {
		if c == ',' || c == '}' || c == ']' {
			return i
		}
	}
	return len(text)
}

// stringLength returns the length of the JSON string that text begins with, quotes
// included.
func stringLength(text []byte) int {
	for at := 1; at < len(text); {
		i := bytes.IndexByte(text[at:], '"')
		if i < 0 {
			break
		}
		at += i + 1
		if !escaped(text[:at-1]) {
			return at
		}
	}
	return len(text)
}

// escaped reports whether the character behind text is escaped: behind an odd number
// of backslashes.
func escaped(text []byte) bool {
	n := 0
	for n < len(text) && text[len(text)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

func nestedLength(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringLength(text[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// Text returns what a JSON string says, or "" if value is none.
func Text(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	if inner := value[1 : len(value)-1]; bytes.IndexByte(inner, '\\') < 0 && value[len(value)-1] == '"' {
		return string(inner)
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}

// Number returns a whole number, or 0 if value is none.
func Number(value []byte) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
