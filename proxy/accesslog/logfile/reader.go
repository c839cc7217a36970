package logfile

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// MaxLine is how long a line may be, in bytes without its line break. A record with
// every value at its limit stays far below.
const MaxLine = 1 << 20

// Stdin is the name of standard input.
const Stdin = "-"

// Place is where a line stands.
type Place struct {
	// File is the name that it was opened by; Stdin for standard input.
	File string
	// Line counts from 1.
	Line int64
	// Offset is the place of the line's first byte, counted from 0; in a compressed
	// file that of what is compressed.
	Offset int64
}

// String is file:line, as editors read it.
func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Fault is what is wrong with a line as a line.
type Fault uint8

// The faults of a line.
const (
	// Whole is a line that ends with a line break.
	Whole Fault = iota
	// Unended is the last line of a file, and has no line break: it is being written,
	// or its writer was killed. Text is what there is.
	Unended
	// TooLong is a line of more than MaxLine bytes. Text is its beginning; the rest was
	// passed over.
	TooLong
	// Unreadable is no line: what follows in this file cannot be read, because the disk
	// fails or the compression is broken. Text is empty, Cause says why.
	Unreadable
)

// String names the fault.
func (f Fault) String() string {
	return [...]string{"whole", "no line break", "too long", "unreadable"}[f]
}

// Line is one line of a file.
type Line struct {
	Place
	// Text is the line without its line break. It is valid until the next call of
	// Next, and must not be changed.
	Text []byte
	// Fault is what is wrong with it.
	Fault Fault
	// Cause is why the rest is Unreadable, else nil.
	Cause error
}

// Reader yields the lines of one file in order. It is for one goroutine.
type Reader struct {
	buf    *bufio.Reader
	long   []byte // the line in hand, if it is longer than buf
	next   Place
	closer io.Closer
	done   bool
}

// Open opens a file, which may be compressed by gzip: its first bytes tell, not its
// name. Stdin is standard input. The caller closes the Reader.
func Open(name string) (*Reader, error) {
	if name == Stdin {
		return New(os.Stdin, name, nil)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening log file: %w", err)
	}
	r, err := New(f, name, f)
	if err != nil {
		_ = f.Close() // was only read from
	}
	return r, err
}

// bufferSize holds nearly every line; only those that are longer are copied.
const bufferSize = 64 << 10

// buffers are those of Readers that were closed.
var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}

func buffer(r io.Reader) *bufio.Reader {
	buf := buffers.Get().(*bufio.Reader) //nolint:forcetypeassert // nothing else is put there
	buf.Reset(r)
	return buf
}

// New returns a Reader of what r has, compressed or not, under a name. Close closes
// closer, which may be nil.
func New(r io.Reader, name string, closer io.Closer) (*Reader, error) {
	buf := buffer(r)
	magic, err := buf.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading log file %s: %w", name, err)
	}
	if len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		plain, err := gzip.NewReader(buf)
		if err != nil {
			return nil, fmt.Errorf("reading log file %s: %w", name, err)
		}
		buf = buffer(plain)
	}
	return &Reader{buf: buf, next: Place{File: name, Line: 1}, closer: closer}, nil
}

// Next returns the next line, or io.EOF after the last one; no other error. What
// cannot be read is a line with the fault Unreadable, and the last one of its file.
func (r *Reader) Next() (Line, error) {
	if r.done {
		return Line{}, io.EOF
	}
	text, read, err := r.slice()
	line := Line{Place: r.next, Text: text}
	switch {
	case err == nil:
		line.Text = text[:len(text)-1]
	case errors.Is(err, bufio.ErrBufferFull):
		line.Fault = TooLong
	case errors.Is(err, io.EOF) && len(text) == 0:
		r.done = true
		return Line{}, io.EOF
	case errors.Is(err, io.EOF):
		r.done, line.Fault = true, Unended
	default:
		r.done, line.Fault, line.Text, line.Cause = true, Unreadable, nil, err
	}
	r.next.Line++
	r.next.Offset += read
	return line, nil
}

// slice reads a line with its line break and returns how many bytes it has in the
// file; of one that is too long the beginning and bufio.ErrBufferFull.
func (r *Reader) slice() (text []byte, read int64, err error) {
	text, err = r.buf.ReadSlice('\n')
	read = int64(len(text))
	if !errors.Is(err, bufio.ErrBufferFull) {
		return text, read, err
	}
	r.long = r.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		r.keep(text)
		text, err = r.buf.ReadSlice('\n')
		read += int64(len(text))
	}
	r.keep(text)
	length := read
	if err == nil {
		length-- // the line break
	}
	if length > MaxLine { // what else is wrong shows at the next line
		return r.long[:MaxLine], read, bufio.ErrBufferFull
	}
	return r.long, read, err
}

// keep appends to the line in hand, as long as it can be one.
func (r *Reader) keep(text []byte) {
	r.long = append(r.long, text[:min(len(text), MaxLine+1-len(r.long))]...)
}

// Close closes the file; lines that were read are not valid any more. Standard input
// stays open.
func (r *Reader) Close() error {
	if r.buf != nil {
		r.buf.Reset(nil)
		buffers.Put(r.buf)
		r.buf, r.done = nil, true
	}
	if r.closer == nil {
		return nil
	}
	if err := r.closer.Close(); err != nil {
		return fmt.Errorf("closing log file: %w", err)
	}
	return nil
}
