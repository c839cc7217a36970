package header

import "fmt"

// AmbiguousError says that a managed header came more than once where the
// gateway sends it once. The request must be refused: which of the values is
// meant cannot be known.
type AmbiguousError struct {
	// Name is the canonical header name.
	Name string
	// Count is how often it came.
	Count int
}

// Error names the header and the count, never the values.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("header %s came %d times, expected at most once", e.Name, e.Count)
}
