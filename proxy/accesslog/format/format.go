// Package format writes records of the access log as others read them: as events of the
// Open Cybersecurity Schema Framework, and in the combined log format of web servers.
//
// Input: a line as the log has it, without its line break; it is read as it stands, sealed
// or not. Hostile input: the values in it come from strangers; the log has made sure that
// none of them acts on whoever looks at it, and nothing here undoes that. No value forges
// or splits a line in any format.
//
// Output: one line, without its line break, or none: not every record has a place in every
// format. What has none in OCSF is under unmapped, as it was.
//
// Specifications: OCSF 1.5.0; the Common and Combined Log Format of Apache httpd 2.4
// (mod_log_config).
package format

import "fmt"

// Func appends a line in some format to dst, and reports whether there is one: a record
// that has no place in the format, and what is no record, leave dst as it was. It is safe
// for concurrent use.
type Func func(dst, line []byte) (out []byte, ok bool)

// The names of the formats.
const (
	NameECS      = "ecs"
	NameOCSF     = "ocsf"
	NameCombined = "combined"
)

// Named returns the format of a name.
func Named(name string) (Func, error) {
	switch name {
	case NameECS:
		return ECS, nil
	case NameOCSF:
		return OCSF, nil
	case NameCombined:
		return Combined, nil
	}
	return nil, fmt.Errorf("format %q of the access log, expected %s, %s or %s", name, NameECS, NameOCSF, NameCombined)
}

// ECS appends the line as it is.
func ECS(dst, line []byte) (out []byte, ok bool) { return append(dst, line...), len(line) > 0 }
