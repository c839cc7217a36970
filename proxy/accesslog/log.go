package accesslog

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Log writes records, each with one Write call, in the order in which their
// requests end. Safe for concurrent use.
type Log struct {
	service string
	failure atomic.Pointer[error] // why the last line was not written; nil when it was

	mu   sync.Mutex
	w    io.Writer // guarded by mu
	torn bool      // the last line broke off in the middle; guarded by mu
}

// New returns a Log for records of the named service (gateway, sidecar) on w,
// which the caller owns.
func New(w io.Writer, service string) *Log {
	return &Log{w: w, service: service}
}

// Open returns the writer that a configuration names: standard output for "-",
// else a file that lines are appended to, readable by its owner and group. A
// line that an earlier process left unfinished is ended, so that it spoils only
// itself.
func Open(name string) (io.WriteCloser, error) {
	if name == "-" {
		return nopCloser{os.Stdout}, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640) //nolint:gosec // whoever ships the log reads it by its group
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
	reader, err := os.Open(f.Name())
	if err != nil {
		return true
	}
	defer func() { _ = reader.Close() }() // was only read from
	var last [1]byte
	_, err = reader.ReadAt(last[:], info.Size()-1)
	return err != nil || last[0] != '\n'
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Write writes r as one line. An error is also remembered; see Err. After a
// line that broke off in the middle, the next one begins with a line break: what
// was torn is lost, and what follows is not.
func (l *Log) Write(r *Record) error {
	buf := lines.Get().(*[]byte) //nolint:forcetypeassert // nothing else is put there
	*buf = r.AppendJSON(append((*buf)[:0], '\n'), l.service)
	err := l.write(*buf)
	if cap(*buf) <= keptLine {
		lines.Put(buf)
	}
	return err
}

// lines are the buffers that lines are made in, so that none waits for another's
// making; larger ones than keptLine are not kept.
var lines = sync.Pool{New: func() any { return new([]byte) }}

const keptLine = 16 << 10

// write writes a line that has a line break before it, for when the last one broke
// off.
func (l *Log) write(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.torn {
		line = line[1:]
	}
	n, err := l.w.Write(line)
	if n > 0 && n <= len(line) {
		l.torn = line[n-1] != '\n'
	}
	if err == nil && n != len(line) {
		err = io.ErrShortWrite
	}
	if err != nil {
		err = fmt.Errorf("writing access log: %w", err)
		l.failure.Store(&err)
		return err
	}
	if l.failure.Load() != nil {
		l.failure.Store(nil)
	}
	return nil
}

// Err returns why the last line was not written, or nil. While it is not nil,
// nobody may be let in: there would be no record of it. Every refusal is a line
// too, so the log recovers by itself.
func (l *Log) Err() error {
	if failure := l.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}
