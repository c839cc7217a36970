package config

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong in a configuration.
type Fault struct {
	// Line counts from 1. For a key that is missing it is the line of the
	// innermost key around it, for a file without any key it is 1.
	Line int
	// Key is the path of the key, such as "routes[1].backend.name"; list
	// entries count from 0. It is empty if the file as a whole is meant.
	Key string
	// Value is what was found: the value quoted as in Go and cut if it is
	// long, or words such as "nothing" or "a list". What looks like a
	// credential is replaced by "[redacted]".
	Value string
	// Expected says what would have been accepted.
	Expected string
}

// String returns the fault in one line without the name of the file.
func (f Fault) String() string {
	if f.Key == "" {
		return fmt.Sprintf("found %s, expected %s", f.Value, f.Expected)
	}
	return fmt.Sprintf("%s: found %s, expected %s", f.Key, f.Value, f.Expected)
}

// Faults is the error of [LoadGateway] and its kin: everything that is
// wrong, ordered by line. It is never empty.
type Faults struct {
	// Source names the file, or the place in Vault.
	Source string
	// List has at least one entry.
	List []Fault
}

// Error returns one line for each fault: "source:line: key: found …, expected …".
func (f *Faults) Error() string {
	var text strings.Builder
	for i, fault := range f.List {
		if i > 0 {
			text.WriteByte('\n')
		}
		fmt.Fprintf(&text, "%s:%d: %s", f.Source, fault.Line, fault)
	}
	return text.String()
}
