package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// sinceBatch is about how many bytes Since gives at once.
const sinceBatch = 256 << 10

// Since gives the records of an instance behind the one with a number, as they stand in
// the file at path and in what was rotated from it last. It is for a sink that the end of
// a process has kept from what the file has got: that is not far back.
func Since(ctx context.Context, path string, behind accesslog.Head, take func(*accesslog.Batch) error) error {
	old, err := Old(path)
	if err != nil {
		return err
	}
	names := append(old[max(0, len(old)-1):], path)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		names = names[:len(names)-1]
	}
	b := &accesslog.Batch{Instance: behind.Instance}
	give := func() error {
		if b.Count == 0 {
			return nil
		}
		err := take(b)
		b.Lines, b.Count = b.Lines[:0], 0
		return err
	}
	for line, err := range logfile.Lines(ctx, names...) {
		if err != nil {
			return fmt.Errorf("reading access log: %w", err)
		}
		r, kind := logfile.Parse(line.Text)
		if kind != logfile.Sealed || r.Instance.String() != behind.Instance || r.Sequence <= behind.Sequence {
			continue
		}
		if b.Count == 0 {
			b.First = r.Sequence
		}
		b.Lines = append(append(b.Lines, r.JSON...), '\n')
		b.Last = r.Sequence
		b.Count++
		if len(b.Lines) >= sinceBatch {
			if err := give(); err != nil {
				return err
			}
		}
	}
	return give()
}
