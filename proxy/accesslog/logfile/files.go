package logfile

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
)

// Lines yields the lines of several files, one file after the other in the order of
// names. A file that cannot be opened is yielded as an error beside a Line with its
// name alone, and the next one follows; the end of ctx is an error and the last.
// The text of a line is valid until the next one.
func Lines(ctx context.Context, names ...string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for _, name := range names {
			if !linesOf(ctx, name, yield) {
				return
			}
		}
	}
}

// linesOf yields the lines of one file, and reports whether the next one may follow.
func linesOf(ctx context.Context, name string, yield func(Line, error) bool) bool {
	r, err := Open(name)
	if err != nil {
		return yield(Line{Place: Place{File: name}}, err)
	}
	defer func() { _ = r.Close() }() // was only read from
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			yield(Line{Place: r.next}, ctx.Err())
			return false
		}
		line, err := r.Next()
		if err != nil {
			return true // io.EOF: nothing else is returned
		}
		if !yield(line, nil) {
			return false
		}
	}
}

// Order sorts files into the order in which they were written, rotated ones before
// the one that is written to, by the first record of each: within an instance by
// its sequence numbers, else by its time. A file without any record comes last, and
// so does standard input, which can be read only once. Each file is opened and read
// until its first record.
func Order(names []string) ([]string, error) {
	var files []first
	var faults []error
	for _, name := range names {
		f, err := firstRecord(name)
		faults = append(faults, err)
		files = append(files, f)
	}
	// The time of a record is that of its request's arrival, which may be long before
	// the record was written: a file of an instance is no older than the one before it.
	slices.SortStableFunc(files, func(a, b first) int {
		return cmp.Or(cmp.Compare(a.instance.String(), b.instance.String()), cmp.Compare(a.sequence, b.sequence))
	})
	for i := 1; i < len(files); i++ {
		if files[i].instance == files[i-1].instance {
			files[i].time = max(files[i].time, files[i-1].time)
		}
	}
	slices.SortStableFunc(files, func(a, b first) int { return cmp.Compare(a.time, b.time) })
	ordered := make([]string, len(files))
	for i, f := range files {
		ordered[i] = f.name
	}
	return ordered, errors.Join(faults...)
}

// first is the first record of a file.
type first struct {
	name     string
	instance Instance
	sequence uint64
	time     string // behind every time if there is none
}

func firstRecord(name string) (first, error) {
	none := first{name: name, time: "~"}
	if name == Stdin {
		return none, nil
	}
	r, err := Open(name)
	if err != nil {
		return none, err
	}
	defer func() { _ = r.Close() }() // was only read from
	for {
		line, err := r.Next()
		if err != nil {
			return none, nil // the end of the file: there is none
		}
		if record, kind := Parse(line.Text); kind == Sealed || kind == Prefixed {
			return first{name, record.Instance, record.Sequence, string(record.RawTime())}, nil
		}
	}
}
