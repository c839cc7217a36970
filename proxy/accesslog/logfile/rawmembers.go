package logfile

import "iter"

// RawMembers is like [Members], with names as they stand in the record: it makes
// nothing, for who looks at many records.
func RawMembers(record []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
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
			if length == 0 || length >= len(value) || !yield(name, value[:length]) {
				return
			}
			if value[length] != ',' {
				return
			}
			rest = value[length+1:]
		}
	}
}
