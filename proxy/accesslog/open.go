package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Open opens a file that lines are appended to, readable by its owner and group. A line
// that an earlier process left unfinished is ended, so that it spoils only itself. A name
// that is a symbolic link is not followed: whoever may write to the directory could have
// the log written to any file.
func Open(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o640) //nolint:gosec // whoever ships the log reads it by its group
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("opening access log: %q is a symbolic link, expected the file itself, or \"-\" for the standard output: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening access log: %w", err)
	}
	if endsInside(f) {
		if _, err := f.WriteString("\n"); err != nil {
			_ = f.Close() // the first error is the one to tell
			return nil, fmt.Errorf("ending the last line of the access log: %w", err)
		}
	}
	return f, nil
}

const (
	// looks is how often a file that seems to end inside of a line is looked at, and
	// lookAgain how long is waited after each: half a second in all, once after a crash.
	looks     = 10
	lookAgain = 50 * time.Millisecond
)

// endsInside reports whether a file's last line is not ended, and does not get its
// end either. One look does not tell: lines of other processes are whole to each
// other, but the file grows by them page by page, and who looks meanwhile sees a
// part of one.
func endsInside(f *os.File) bool {
	for range looks {
		if !seemsToEndInside(f) {
			return false
		}
		<-time.After(lookAgain)
	}
	return true
}

// seemsToEndInside reports whether the last line is not ended now, or cannot be
// read: an empty line does less harm than two lines glued together.
func seemsToEndInside(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	reader, err := os.OpenFile(f.Name(), os.O_RDONLY|syscall.O_NOFOLLOW, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return true
	}
	defer func() { _ = reader.Close() }() // was only read from
	if now, err := reader.Stat(); err == nil && !os.SameFile(info, now) {
		return false // renamed meanwhile, by whoever writes to it
	}
	var last [1]byte
	_, err = reader.ReadAt(last[:], info.Size()-1)
	return err != nil || last[0] != '\n'
}

// lastLines is how much of the end of a file is looked through for its last record: a
// record is never as long.
const lastLines = 4 << 20

// LastOf names the last whole record of a file, nil if there is none.
func LastOf(name string) (*Head, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("opening access log: %w", err)
	}
	defer func() { _ = f.Close() }() // was only read from
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening access log: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil //nolint:nilnil // a pipe has no records that can be found
	}
	start := max(0, info.Size()-lastLines)
	text, err := io.ReadAll(io.NewSectionReader(f, start, info.Size()-start))
	if err != nil {
		return nil, fmt.Errorf("reading access log: %w", err)
	}
	if start > 0 { // the first line of these may be a part of one
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return lastRecord(text), nil
}

// lastRecord names the last whole record of some text, nil if there is none.
func lastRecord(text []byte) *Head {
	for {
		end := bytes.LastIndexByte(text, '\n')
		if end < 0 {
			return nil
		}
		text = text[:end]
		line := text[bytes.LastIndexByte(text, '\n')+1:]
		if seal, ok := ParseSeal(line); ok {
			return &Head{Instance: seal.Instance, Sequence: seal.Sequence, Hash: HashOf(line)}
		}
	}
}
