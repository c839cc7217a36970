package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"
)

// Entry is some lines that are appended together.
type Entry struct {
	// Lines are whole lines in order, each ended by a line break. Append does not keep
	// them.
	Lines []byte
	// Instance and Last say how far the log of this instance is in the spool with this
	// entry; lines that a filter left out count. Without an instance it is as far as before.
	Instance string
	Last     uint64
}

// Head is how far the log of an instance is in a spool. The zero value is not at all.
type Head struct {
	Instance string
	Last     uint64
}

const (
	// entryHeader is length, checksum, time, last sequence number and instance.
	entryHeader    = 4 + 4 + 8 + 8 + instanceLength
	instanceLength = 26
	// maxEntry is the largest entry that is believed to be one.
	maxEntry = 64 << 20
)

// errTorn says that a file ends inside of an entry, or holds something else there.
var errTorn = errors.New("no whole entry")

// castagnoli is the polynomial that processors know.
//
//nolint:gochecknoglobals // a lookup table
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is what stands before the lines of an entry.
type header struct {
	length int64 // of the lines
	sum    uint32
	time   time.Time
	head   Head
}

// appendEntry appends e as it stands in a segment.
func appendEntry(dst []byte, e Entry, now time.Time) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(e.Lines))) //nolint:gosec // less than maxEntry
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(now.UnixNano()))
	dst = binary.BigEndian.AppendUint64(dst, e.Last)
	dst = appendInstance(dst, e.Instance)
	dst = append(dst, e.Lines...)
	binary.BigEndian.PutUint32(dst[start+4:], crc32.Checksum(dst[start+8:], castagnoli))
	return dst
}

// appendInstance appends an id of a fixed length; zeros for none.
func appendInstance(dst []byte, instance string) []byte {
	var id [instanceLength]byte
	copy(id[:], instance)
	return append(dst, id[:]...)
}

func instanceOf(id []byte) string { return strings.TrimRight(string(id), "\x00") }

// readHeader reads the header of the entry at offset.
func readHeader(r io.ReaderAt, offset int64) (h header, err error) {
	var raw [entryHeader]byte
	if _, err := r.ReadAt(raw[:], offset); err != nil {
		return h, fmt.Errorf("%w: %w", errTorn, err)
	}
	h.length = int64(binary.BigEndian.Uint32(raw[:]))
	h.sum = binary.BigEndian.Uint32(raw[4:])
	h.time = time.Unix(0, int64(binary.BigEndian.Uint64(raw[8:]))) //nolint:gosec // what appendEntry has written
	h.head = Head{Last: binary.BigEndian.Uint64(raw[16:]), Instance: instanceOf(raw[24:])}
	if h.length == 0 || h.length > maxEntry {
		return h, errTorn
	}
	return h, nil
}

// readEntry appends the lines of the entry at offset, which ends at end at the latest, to
// dst.
func readEntry(dst []byte, r io.ReaderAt, offset, end int64) (lines []byte, h header, err error) {
	if h, err = readHeader(r, offset); err != nil {
		return dst, h, err
	}
	if offset+h.size() > end {
		return dst, h, errTorn
	}
	raw := make([]byte, entryHeader+h.length)
	if _, err := r.ReadAt(raw, offset); err != nil {
		return dst, h, fmt.Errorf("%w: %w", errTorn, err)
	}
	if crc32.Checksum(raw[8:], castagnoli) != h.sum || raw[len(raw)-1] != '\n' {
		return dst, h, errTorn
	}
	return append(dst, raw[entryHeader:]...), h, nil
}

// size is how much of a file the entry of h takes.
func (h header) size() int64 { return entryHeader + h.length }
