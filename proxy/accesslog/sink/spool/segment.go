package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

// A segment is a file of entries, behind a header that says how far the log was in
// the spool before it.
const (
	segmentMagic  = "sallysp1"
	segmentHeader = len(segmentMagic) + 8 + instanceLength + 4
	segmentSuffix = ".segment"
)

// segment is one file.
type segment struct {
	number uint64 // they are read in this order
	size   int64  // as far as it is whole
}

func (s segment) name(dir string) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", s.number, segmentSuffix))
}

// createSegment makes a file with nothing but the header.
func createSegment(dir string, number uint64, before Head) (*os.File, segment, error) {
	s := segment{number: number, size: int64(segmentHeader)}
	raw := append(make([]byte, 0, segmentHeader), segmentMagic...)
	raw = binary.BigEndian.AppendUint64(raw, before.Last)
	raw = appendInstance(raw, before.Instance)
	raw = binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, castagnoli))
	f, err := disk.Create(s.name(dir), 0o600)
	if err != nil {
		return nil, s, err
	}
	if _, err := f.Write(raw); err != nil {
		return nil, s, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, s, nil
}

// readSegmentHeader says how far the log was before it.
func readSegmentHeader(f *os.File) (Head, error) {
	raw := make([]byte, segmentHeader)
	if _, err := f.ReadAt(raw, 0); err != nil {
		return Head{}, fmt.Errorf("%w: %w", errTorn, err)
	}
	body := raw[:segmentHeader-4]
	if string(body[:len(segmentMagic)]) != segmentMagic || crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(raw[len(body):]) {
		return Head{}, errTorn
	}
	body = body[len(segmentMagic):]
	return Head{Last: binary.BigEndian.Uint64(body), Instance: instanceOf(body[8:])}, nil
}

// mend finds out how far a segment is whole, cuts the rest off, and says how far the
// log is in it. A file that is no segment is removed; size is 0 then.
func mend(path string) (size int64, head Head, cut int64, err error) {
	f, err := disk.Open(path, os.O_RDWR, 0)
	if err != nil {
		return 0, head, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, head, 0, err
	}
	if head, err = readSegmentHeader(f); err != nil {
		return 0, head, info.Size(), os.Remove(path)
	}
	size = int64(segmentHeader)
	for size < info.Size() {
		_, h, err := readEntry(nil, f, size, info.Size())
		if err != nil {
			return size, head, info.Size() - size, f.Truncate(size)
		}
		size += h.size()
		head = h.head
	}
	return size, head, 0, nil
}

// listSegments returns the files of a directory in order.
func listSegments(dir string) ([]segment, error) {
	files, err := os.ReadDir(dir) // ordered by name
	if err != nil {
		return nil, err
	}
	var all []segment
	for _, file := range files {
		text, ok := strings.CutSuffix(file.Name(), segmentSuffix)
		number, err := strconv.ParseUint(text, 16, 64)
		if !ok || err != nil || len(text) != 16 {
			continue
		}
		info, err := file.Info()
		if err != nil {
			return nil, err
		}
		all = append(all, segment{number: number, size: info.Size()})
	}
	return all, nil
}
