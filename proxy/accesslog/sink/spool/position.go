package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

// position is a place between two entries.
type position struct {
	segment uint64
	offset  int64
}

// before reports whether p comes before q.
func (p position) before(q position) bool {
	return p.segment < q.segment || p.segment == q.segment && p.offset < q.offset
}

// ledger is the file that says up to where everything was acknowledged. It has two
// places that are written in turn, each in a sector of its own: whatever happens to
// one while it is written, the other is whole.
type ledger struct {
	f       *os.File
	version uint64 // of what was written last
}

const (
	ledgerSector = 512
	ledgerEntry  = 8 + 8 + 8 + 4
)

// openLedger opens the file and reads the newer of its places; the zero position if
// there is none.
func openLedger(path string) (*ledger, position, error) {
	f, err := disk.Open(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, position{}, err
	}
	l := &ledger{f: f}
	var newest position
	for i := range int64(2) {
		var raw [ledgerEntry]byte
		if _, err := f.ReadAt(raw[:], i*ledgerSector); err != nil && !errors.Is(err, io.EOF) {
			return nil, newest, errors.Join(err, f.Close())
		}
		version := binary.BigEndian.Uint64(raw[:])
		if crc32.Checksum(raw[:24], castagnoli) == binary.BigEndian.Uint32(raw[24:]) && version > l.version {
			l.version = version
			newest = position{binary.BigEndian.Uint64(raw[8:]), int64(binary.BigEndian.Uint64(raw[16:]))} //nolint:gosec // judged by who uses it
		}
	}
	return l, newest, nil
}

// write notes a position so that it outlives the machine.
func (l *ledger) write(p position) error {
	raw := make([]byte, 0, ledgerEntry)
	raw = binary.BigEndian.AppendUint64(raw, l.version+1)
	raw = binary.BigEndian.AppendUint64(raw, p.segment)
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.offset)) //nolint:gosec // no offset is negative
	raw = binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, castagnoli))
	if _, err := l.f.WriteAt(raw, int64((l.version+1)%2)*ledgerSector); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return err
	}
	l.version++
	return nil
}
