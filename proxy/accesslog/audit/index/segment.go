package index

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// A segment is what the index has of one file of the log, in two files of its own.
// NAME.blocks has blocks that are full; it only grows. NAME.tail has what there is to
// know about the file, and the last block; it is replaced as a whole. Who has both
// open is not disturbed by who writes.
type segment struct {
	meta
	name   string // of its files, without an extension
	blocks []*block
	kept   *handle // NAME.blocks; nil if there is no full block
	log    *handle // the file of the log that it is about; nil until that is found
	path   string  // where that was found
}

// meta is what is known of a file of the log.
type meta struct {
	// Identity is the hash of the file's first line, which no two files share but
	// copies: it has an instance and a number.
	Identity string `json:"identity"`
	// Kept is how long NAME.blocks is, and Start where in the log's file the last block
	// begins, which is not among them.
	Kept  int64 `json:"kept"`
	Start int64 `json:"start"`
	// End is how far the file was read, and Last where the line before it begins, with
	// its hash.
	End      int64  `json:"end"`
	Last     int64  `json:"last"`
	LastHash string `json:"last_hash"`
	// Skipped is how many lines before Start are no records and in no block, and Broken
	// how many behind it.
	Skipped int64 `json:"skipped"`
	Broken  int64 `json:"broken"`
	// Stamp is what the file was when it was read.
	Stamp stamp `json:"stamp"`
	// Compressed says that it is, and must be read from its beginning.
	Compressed bool `json:"compressed"`
}

// stamp tells a file of the log, as it is, from others and from what it was.
type stamp struct {
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
}

// sameFile reports whether both are of one file, which may have grown.
func (s stamp) sameFile(other stamp) bool {
	return s.Inode != 0 && s.Inode == other.Inode && s.Device == other.Device
}

// The extensions of a segment's files.
const (
	extBlocks = ".blocks"
	extTail   = ".tail"
)

// tailMagic begins a tail. Its last digit is the version of the whole format.
const tailMagic = "sallyport index 1\n"

// maxMeta is more than any meta has.
const maxMeta = 4096

// encodeTail returns the content of a tail: the magic word, meta with its length and
// checksum, and a block, if it has records.
func encodeTail(m meta, b *builder) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding the index: %w", err)
	}
	out := []byte(tailMagic)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text))) //nolint:gosec // a few hundred bytes
	out = binary.LittleEndian.AppendUint32(out, checksum(text))
	out = append(out, text...)
	if b != nil && b.rows() > 0 {
		out = b.append(out)
	}
	return out, nil
}

// readMeta reads the beginning of a tail, and returns how long that is.
func readMeta(from io.Reader) (m meta, length int64, err error) {
	var head [len(tailMagic) + 8]byte
	if _, err := io.ReadFull(from, head[:]); err != nil || string(head[:len(tailMagic)]) != tailMagic {
		return m, 0, errDamaged
	}
	size := binary.LittleEndian.Uint32(head[len(tailMagic):])
	if size > maxMeta {
		return m, 0, errDamaged
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(from, text); err != nil || checksum(text) != binary.LittleEndian.Uint32(head[len(tailMagic)+4:]) {
		return m, 0, errDamaged
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, 0, errDamaged
	}
	return m, int64(len(head)) + int64(size), nil
}

// peekMeta reads what a tail says of its file.
func peekMeta(dir *os.Root, name string) (meta, error) {
	f, err := dir.Open(name)
	if err != nil {
		return meta{}, fmt.Errorf("opening the index: %w", err)
	}
	defer func() { _ = f.Close() }() // was only read from
	m, _, err := readMeta(f)
	return m, err
}

// loadSegment opens a segment. Damage is an error that is errDamaged.
func loadSegment(dir *os.Root, name string) (s *segment, err error) {
	s = &segment{name: name}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	tail, err := dir.ReadFile(name + extTail)
	if err != nil {
		return s, fmt.Errorf("opening the index: %w", err)
	}
	reader := bytes.NewReader(tail)
	m, at, err := readMeta(reader)
	if err != nil {
		return s, err
	}
	s.meta = m
	if err := s.loadBlocks(dir, name+extBlocks); err != nil {
		return s, err
	}
	if at < int64(len(tail)) {
		b, err := readBlock(reader, at, int64(len(tail)))
		if err != nil || b.start != m.Start {
			return s, errors.Join(errDamaged, err)
		}
		b.segment, s.blocks = s, append(s.blocks, b)
	}
	return s, nil
}

func (s *segment) loadBlocks(dir *os.Root, name string) error {
	if s.Kept == 0 {
		return nil
	}
	f, err := dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return errDamaged
	}
	if err != nil {
		return fmt.Errorf("opening the index: %w", err)
	}
	s.kept = newHandle(f)
	for at := int64(0); at < s.Kept; {
		b, err := readBlock(f, at, s.Kept)
		if err != nil {
			return err
		}
		b.segment, s.blocks = s, append(s.blocks, b)
		at += b.length
	}
	return nil
}

// acquire keeps the segment's files open until release.
func (s *segment) acquire() {
	s.kept.acquire()
	s.log.acquire()
}

func (s *segment) release() {
	s.kept.release()
	s.log.release()
}
