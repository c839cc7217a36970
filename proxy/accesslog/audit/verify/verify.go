package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Config says what to verify, and against what.
type Config struct {
	// Files are the files of the log, in any order; logfile.Stdin is Input.
	Files []string
	// Input is read for logfile.Stdin, and kept in a temporary file meanwhile.
	Input io.Reader
	// Keys are Vault's public keys.
	Keys checkpoint.Keys
	// ChainOnly leaves signatures by Vault unverified; else a checkpoint by a key that
	// is not among Keys is a finding.
	ChainOnly bool
	// Published are the checkpoints that instances have published in Vault, and
	// PublishedFaults what is there and is none.
	Published       []*checkpoint.Checkpoint
	PublishedFaults []error
	// Copy says that the files are what a collector received, at least once: exact
	// repeats, other order, lines of others and what stands before a record on its line
	// are counted and no findings.
	Copy bool
	// Partial says that the files are an excerpt: what is missing before the first and
	// behind the last record of an instance, and instances that are not there, are notes
	// and no findings.
	Partial bool
	// Unpromised says that an instance that promises no checkpoints is no finding, if
	// there is none in it: signing was asked for later.
	Unpromised bool
	// Pace, if not nil, is called after every few thousand lines, and may wait: who has
	// other things to do verifies slowly.
	Pace func()
}

// verifier is the state of one verification.
type verifier struct {
	cfg       Config
	report    Report
	sources   []source
	instances map[logfile.Instance]*instance
	order     []*instance // as they came
	rings     []*instance // those that are ringed, the one that is so for longest first
	runs      int
	file      int // counts files that were begun
	claims    claims
}

// Verify reads the files and says what it found. An error is a file that cannot be
// opened, or the end of ctx: it then says nothing about the log.
func Verify(ctx context.Context, cfg Config) (*Report, error) {
	v := &verifier{cfg: cfg, instances: map[logfile.Instance]*instance{}, claims: newClaims()}
	defer v.close()
	if err := v.open(ctx); err != nil {
		return nil, err
	}
	v.report = Report{SignaturesChecked: !cfg.ChainOnly, Files: []string{}, Instances: []Instance{}, Findings: []Finding{}, Notes: []Finding{}}
	for _, s := range v.sources {
		v.report.Files = append(v.report.Files, s.name)
		v.file++
		if err := v.read(ctx, s, v.line); err != nil {
			return nil, err
		}
	}
	v.endFiles()
	v.published()
	if v.judgeClaims() {
		for _, s := range v.sources {
			if err := v.read(ctx, s, v.claims.line(v)); err != nil {
				return nil, err
			}
		}
	}
	v.finish()
	return &v.report, nil
}

// source is a file that can be read from its beginning, more than once.
type source struct {
	name  string
	spool *os.File // what standard input had; else nil
}

// open brings the files into their order, and standard input into a file.
func (v *verifier) open(ctx context.Context) error {
	names, err := logfile.Order(v.cfg.Files)
	if err != nil {
		return err
	}
	for _, name := range names {
		s := source{name: name}
		if name == logfile.Stdin {
			if s.spool, err = spool(ctx, v.cfg.Input); err != nil {
				return err
			}
		}
		v.sources = append(v.sources, s)
	}
	return nil
}

// spool copies in to a file without a name, which is gone when it is closed.
func spool(ctx context.Context, in io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "sallyport-verify-")
	if err != nil {
		return nil, fmt.Errorf("keeping standard input: %w", err)
	}
	if err = os.Remove(f.Name()); err == nil && in != nil {
		_, err = io.Copy(f, untilDone{ctx, in})
	}
	if err != nil {
		_ = f.Close() // the first error is the one to tell
		return nil, fmt.Errorf("keeping standard input: %w", err)
	}
	return f, nil
}

// untilDone reads until a context ends.
type untilDone struct {
	ctx context.Context //nolint:containedctx // lives as long as one copy
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

func (v *verifier) close() {
	for _, s := range v.sources {
		if s.spool != nil {
			_ = s.spool.Close() // has no name any more
		}
	}
}

// read has each line of a file judged, until judge says that it is enough.
func (v *verifier) read(ctx context.Context, s source, judge func(logfile.Line) bool) error {
	var r *logfile.Reader
	var err error
	if s.spool != nil {
		if _, err = s.spool.Seek(0, io.SeekStart); err == nil {
			r, err = logfile.New(s.spool, s.name, nil)
		}
	} else {
		r, err = logfile.Open(s.name)
	}
	if err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	defer func() { _ = r.Close() }() // was only read from
	for n := 0; ; n++ {
		if n%4096 == 0 {
			if v.cfg.Pace != nil && n > 0 {
				v.cfg.Pace()
			}
			if ctx.Err() != nil {
				return fmt.Errorf("verifying: %w", ctx.Err())
			}
		}
		line, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("verifying: %w", err)
		}
		if !judge(line) {
			return nil
		}
	}
}

// line judges one line.
func (v *verifier) line(line logfile.Line) bool {
	switch line.Fault {
	case logfile.Unreadable:
		v.report.find(at(Unreadable, line.Place, "the rest of the file cannot be read: %v", line.Cause))
		return true
	case logfile.TooLong:
		v.report.Lines++
		v.stranger(line.Place, "a line of more than %d bytes, which no record has", logfile.MaxLine)
		return true
	case logfile.Whole, logfile.Unended:
	}
	v.report.Lines++
	record, kind := logfile.Parse(line.Text)
	switch kind {
	case logfile.Sealed:
		v.record(record, line.Place)
	case logfile.Prefixed:
		if !v.cfg.Copy {
			v.glued(line, record)
		}
		v.record(record, line.Place)
	case logfile.Blank:
		v.report.Blank++
	case logfile.Torn:
		v.report.Torn++
		v.report.note(at(TornLine, line.Place, "a line of %d bytes that broke off: its writer was killed, or could not write on", len(line.Text)))
	case logfile.Unsealed:
		v.stranger(line.Place, "a record without a seal: nobody vouches for it")
	case logfile.Foreign:
		v.stranger(line.Place, "no record of an access log: %.40q", line.Text)
	}
	return true
}

// stranger is a line that no log has, and that a collector may have from elsewhere.
func (v *verifier) stranger(place logfile.Place, detail string, args ...any) {
	if v.cfg.Copy {
		v.report.Foreign++
		return
	}
	v.report.find(at(Inserted, place, detail, args...))
}

// glued is a record behind something else on its line: behind one that broke off, if
// its writer was killed and another one wrote on.
func (v *verifier) glued(line logfile.Line, record logfile.Record) {
	before := line.Text[:bytes.LastIndex(line.Text, record.JSON)]
	if _, kind := logfile.Parse(before); kind == logfile.Torn {
		v.report.Torn++
		v.report.note(at(TornLine, line.Place, "%d bytes of a record that broke off stand before another one", len(before)))
		return
	}
	v.report.find(at(Inserted, line.Place, "%d bytes stand before a record on its line: %.40q", len(before), before))
}
