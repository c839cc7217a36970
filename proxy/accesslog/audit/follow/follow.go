// Package follow reads the access log as it grows. When the file is rotated it reads
// what is left of the old one and goes on with the new one.
//
// Hostile input: the file, whose lines may be anything; a line without an end takes no
// more memory than one may have.
//
// Output: whole lines, in the order in which they were written.
package follow

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Config says what is followed. It must not be changed while it is.
type Config struct {
	// Name is the file that is written to. It need not be there yet.
	Name string
	// Back is how many bytes before the end are read first. Default 0: only what is
	// written from now on.
	Back int64
	// Every is how often it is looked for something new. Default 200ms.
	Every time.Duration
	// Line is called with each line, without its line break, which is valid until it
	// returns. An error ends the following. It is called by one goroutine.
	Line func(line []byte) error
	// Caught is called once when everything that was there at the start was read. May be
	// nil. An error ends the following.
	Caught func() error
}

// lingers is how long a file is read on that has lost its name: whoever rotates may
// tell the writer late.
const lingers = 10 * time.Second

// follower is what is open.
type follower struct {
	cfg  Config
	now  *opened   // the file that has the name; nil while there is none
	past []*opened // files that had it
	buf  *bufio.Reader
}

// opened is a file that is read.
type opened struct {
	*os.File
	info    fs.FileInfo
	at      int64     // how far it was read
	pending []byte    // the beginning of a line that has no end yet
	skip    bool      // until the next line break: the beginning was not seen, or is too long
	until   time.Time // when it is closed, once it has lost its name
}

// Run follows until ctx ends, which is no error, or until something fails.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Every == 0 {
		cfg.Every = 200 * time.Millisecond
	}
	f := &follower{cfg: cfg, buf: bufio.NewReaderSize(nil, 64<<10)}
	defer f.close()
	if err := f.begin(ctx); err != nil {
		return err
	}
	if cfg.Caught != nil {
		if err := cfg.Caught(); err != nil {
			return err
		}
	}
	look := time.NewTicker(cfg.Every)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			if err := f.look(ctx); err != nil {
				return err
			}
		}
	}
}

// begin opens the file and reads from the place where reading starts.
func (f *follower) begin(ctx context.Context) error {
	if err := f.open(); err != nil || f.now == nil {
		return err
	}
	o := f.now
	if o.at = max(0, o.info.Size()-f.cfg.Back); o.at > 0 {
		// The byte before tells whether a line begins here.
		var before [1]byte
		_, err := o.ReadAt(before[:], o.at-1)
		o.skip = err != nil || before[0] != '\n'
	}
	return f.read(ctx, o)
}

// open opens the file that has the name, if one has.
func (f *follower) open() error {
	// A pipe would be waited for.
	if info, err := os.Stat(f.cfg.Name); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("following the log: %s: expected a regular file", f.cfg.Name)
	}
	file, err := os.Open(f.cfg.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("following the log: %w", err)
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = file.Close() // was only read from
		return fmt.Errorf("following the log: %s: expected a regular file", f.cfg.Name)
	}
	f.now = &opened{File: file, info: info}
	return nil
}

func (f *follower) close() {
	for _, o := range append(f.past, f.now) {
		if o != nil {
			_ = o.Close() // was only read from
		}
	}
}

// look reads what is new, and goes on with another file if it has taken the name.
func (f *follower) look(ctx context.Context) error {
	if f.now != nil {
		if info, err := os.Stat(f.cfg.Name); err != nil || !os.SameFile(info, f.now.info) {
			f.now.until = time.Now().Add(lingers)
			f.past, f.now = append(f.past, f.now), nil
		}
	}
	kept := f.past[:0]
	for _, o := range f.past {
		if err := f.read(ctx, o); err != nil {
			return err
		}
		if time.Now().Before(o.until) {
			kept = append(kept, o)
		} else {
			_ = o.Close() // was only read from
		}
	}
	f.past = kept
	if f.now == nil {
		if err := f.open(); err != nil || f.now == nil {
			return err
		}
	}
	if own, err := f.now.Stat(); err == nil && own.Size() < f.now.at {
		f.now.at, f.now.pending, f.now.skip = 0, f.now.pending[:0], false // truncated: it begins anew
	}
	return f.read(ctx, f.now)
}

// read reads a file to its end.
func (f *follower) read(ctx context.Context, o *opened) error {
	f.buf.Reset(io.NewSectionReader(o, o.at, 1<<62))
	for ctx.Err() == nil {
		part, err := f.buf.ReadSlice('\n')
		o.at += int64(len(part))
		if err == nil {
			if err := f.end(o, part[:len(part)-1]); err != nil {
				return err
			}
			continue
		}
		if !o.skip {
			o.pending = append(o.pending, part...)
		}
		if len(o.pending) > logfile.MaxLine {
			o.pending, o.skip = o.pending[:0], true
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("following the log: %w", err)
		}
	}
	return nil
}

// end hands on the line that part is the end of.
func (f *follower) end(o *opened, part []byte) error {
	if o.skip {
		o.skip = false
		return nil
	}
	line := part
	if len(o.pending) > 0 {
		line = append(o.pending, part...)
		o.pending = o.pending[:0]
	}
	return f.cfg.Line(bytes.TrimSuffix(line, []byte("\r")))
}
