package accesslog

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// Log writes records, each with one Write call, in the order in which their
// requests end. Safe for concurrent use.
type Log struct {
	service string
	failure atomic.Pointer[error] // why the last line was not written; nil when it was

	mu  sync.Mutex
	w   io.Writer // guarded by mu
	buf []byte    // reused between lines; guarded by mu
}

// New returns a Log for records of the named service (gateway, sidecar) on w,
// which the caller owns.
func New(w io.Writer, service string) *Log {
	return &Log{w: w, service: service}
}

// Open returns the writer that a configuration names: standard output for "-",
// else a file that lines are appended to, readable by its owner and group.
func Open(name string) (io.WriteCloser, error) {
	if name == "-" {
		return nopCloser{os.Stdout}, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("opening access log: %w", err)
	}
	return f, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Write writes r as one line. An error is also remembered; see Err.
func (l *Log) Write(r *Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = r.AppendJSON(l.buf[:0], l.service)
	if _, err := l.w.Write(l.buf); err != nil {
		err = fmt.Errorf("writing access log: %w", err)
		l.failure.Store(&err)
		return err
	}
	l.failure.Store(nil)
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
