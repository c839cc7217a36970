package index

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// source is a file of the log as it was when it was looked at: what is appended later
// is not read.
type source struct {
	file       *handle
	path       string
	stamp      stamp
	compressed bool
}

// openSource opens a file of the log; nil if it is no regular file.
func openSource(path string) (*source, error) {
	// A pipe would be waited for.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, nil //nolint:nilnil // said above
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening log file: %w", err)
	}
	info, err = f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close() // was only read from
		if err != nil {
			return nil, fmt.Errorf("opening log file: %w", err)
		}
		return nil, nil //nolint:nilnil // said above
	}
	var magic [2]byte
	n, err := f.ReadAt(magic[:], 0)
	return &source{newHandle(f), path, stampOf(info), err == nil && n == 2 && magic == [2]byte{0x1f, 0x8b}}, nil
}

// from returns the decompressed content from an offset on. What lies before it in a
// compressed file is read for it.
func (s *source) from(offset int64) (io.Reader, error) {
	if !s.compressed {
		return io.NewSectionReader(s.file, offset, max(0, s.stamp.Size-offset)), nil
	}
	plain, err := gzip.NewReader(bufio.NewReaderSize(io.NewSectionReader(s.file, 0, s.stamp.Size), 256<<10))
	if err != nil {
		return nil, fmt.Errorf("reading log file %s: %w", s.path, err)
	}
	if _, err := io.CopyN(io.Discard, plain, offset); err != nil {
		return nil, fmt.Errorf("reading log file %s: %w", s.path, err)
	}
	return plain, nil
}

// identity returns the hash of the first line, or "" if there is no whole one, or none
// that can be decompressed.
func (s *source) identity() string {
	content, err := s.from(0)
	if err != nil {
		return ""
	}
	line, err := bufio.NewReaderSize(content, logfile.MaxLine+1).ReadSlice('\n')
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:16])
}

// continues reports whether the file still has what m says was read of it, and
// returns what comes after the last full block if so.
func (s *source) continues(m meta) (rest io.Reader, ok bool) {
	begin := min(m.Start, m.Last)
	if begin < 0 || m.End < max(m.Start, m.Last) || m.End-begin > blockBytes+2*logfile.MaxLine || !s.compressed && m.End > s.stamp.Size {
		return nil, false
	}
	rest, err := s.from(begin)
	if err != nil {
		return nil, false
	}
	// What lies behind the last full block is read again anyway, and is not much.
	known := make([]byte, m.End-begin)
	if _, err := io.ReadFull(rest, known); err != nil || hashOf(known[m.Last-begin:]) != m.LastHash {
		return nil, false
	}
	return io.MultiReader(bytes.NewReader(known[m.Start-begin:]), rest), true
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// want is a part of a file's content that is to be read.
type want struct {
	at     int64
	length int
	to     *[]byte
}

// apart is how far wanted parts of a file may lie apart, to be read in one.
const apart = 16 << 10

// fetch reads what is wanted of the log's file, which is in order.
func (s *segment) fetch(wanted []want) error {
	if s.Compressed {
		return s.fetchCompressed(wanted)
	}
	for len(wanted) > 0 {
		n, end := 1, wanted[0].at+int64(wanted[0].length)
		for n < len(wanted) && wanted[n].at-end < apart && wanted[n].at-wanted[0].at < logfile.MaxLine {
			end = max(end, wanted[n].at+int64(wanted[n].length))
			n++
		}
		from := wanted[0].at
		content := make([]byte, end-from)
		if _, err := s.log.ReadAt(content, from); err != nil {
			return &staleError{s, fmt.Errorf("reading log file: %w", err)}
		}
		for _, w := range wanted[:n] {
			*w.to = content[w.at-from : w.at-from+int64(w.length)]
		}
		wanted = wanted[n:]
	}
	return nil
}

func (s *segment) fetchCompressed(wanted []want) error {
	content, err := gzip.NewReader(bufio.NewReaderSize(io.NewSectionReader(s.log, 0, s.Stamp.Size), 256<<10))
	if err != nil {
		return &staleError{s, fmt.Errorf("reading log file: %w", err)}
	}
	at := int64(0)
	for _, w := range wanted {
		line := make([]byte, w.length)
		if _, err := io.CopyN(io.Discard, content, w.at-at); err != nil {
			return &staleError{s, fmt.Errorf("reading log file: %w", err)}
		}
		if _, err := io.ReadFull(content, line); err != nil {
			return &staleError{s, fmt.Errorf("reading log file: %w", err)}
		}
		*w.to, at = line, w.at+int64(w.length)
	}
	return nil
}
