package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// blockRows is how many records a block has at most.
const blockRows = 4096

// blockBytes is how much of a file a block is about at most, but for its last line.
const blockBytes = 16 << 20

// The columns of numbers, before those of the fields.
const (
	columnTime   = iota // microseconds since 1970
	columnOffset        // of the record in its file, decompressed
	columnLength        // of the record
	columnSequence
	numbers
	columns = numbers + int(audit.Fields)
)

// builder makes blocks of records.
type builder struct {
	start, end int64 // the part of the file that the block is about
	broken     int64 // lines in it that are no records
	numbers    [numbers][]int64
	texts      [audit.Fields]texts
	ranges     []span
}

// span is which records of an instance a block has, at least the first and the last.
type span struct {
	instance    string
	first, last int64 // sequence numbers
}

func newBuilder() *builder {
	b := &builder{}
	for i := range b.texts {
		b.texts[i].codes = make(map[string]uint16)
	}
	return b
}

func (b *builder) rows() int { return len(b.numbers[columnTime]) }

// reset begins a block at an offset of the file.
func (b *builder) reset(start int64) {
	b.start, b.end, b.broken, b.ranges = start, start, 0, b.ranges[:0]
	for i := range b.numbers {
		b.numbers[i] = b.numbers[i][:0]
	}
	for i := range b.texts {
		b.texts[i].reset()
	}
}

// line adds a line, which ends before end, with its line break.
func (b *builder) line(line logfile.Line, end int64) {
	b.end = end
	text, micros, ok := audit.Record(line.Text)
	if !ok || line.Fault != logfile.Whole {
		if len(bytes.TrimSpace(line.Text)) > 0 || line.Fault != logfile.Whole {
			b.broken++
		}
		return
	}
	row := b.rows()
	sequence := int64(0)
	for name, value := range logfile.RawMembers(text) {
		if field, known := audit.FieldOf(name); known {
			if value = unquoted(value); len(value) > 0 {
				b.texts[field].add(row, value)
			}
		} else if string(name) == audit.SequenceMember {
			sequence = int64(audit.Sequence(value)) //nolint:gosec // wraps around, and back
		}
	}
	for i := range b.texts {
		b.texts[i].fill(row + 1)
	}
	// A record may stand behind something else: the capacities tell where.
	at := line.Offset + int64(cap(line.Text)-cap(text))
	for i, n := range [numbers]int64{micros, at, int64(len(text)), sequence} {
		b.numbers[i] = append(b.numbers[i], n)
	}
	b.span(row, sequence)
}

// span notes which instance and number the record in a row has.
func (b *builder) span(row int, sequence int64) {
	t := &b.texts[audit.Instance]
	instance := t.values[t.rows[row]]
	for i := range b.ranges {
		if r := &b.ranges[i]; r.instance == instance {
			r.first, r.last = min(r.first, sequence), max(r.last, sequence)
			return
		}
	}
	b.ranges = append(b.ranges, span{instance, sequence, sequence})
}

// unquoted returns what a value says: of a string its characters.
func unquoted(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return value
	}
	if inner := value[1 : len(value)-1]; value[len(value)-1] == '"' && bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	return []byte(logfile.Text(value))
}

// blockMagic begins every block.
const blockMagic = 0x31425053

// prefixLength is that of what stands before a block's header: the magic number, the
// lengths of header and columns, and the header's checksum.
const prefixLength = 16

// append appends the block.
func (b *builder) append(dst []byte) []byte {
	var body []byte
	var places [columns][2]uint32 // length and checksum
	for i := range columns {
		from := len(body)
		if i < numbers {
			body = appendNumbers(body, b.numbers[i])
		} else {
			body = b.texts[i-numbers].append(body)
		}
		places[i] = [2]uint32{uint32(len(body) - from), checksum(body[from:])} //nolint:gosec // a block is smaller than its lines
	}
	header := b.header(places)
	for _, n := range []int{blockMagic, len(header), len(body), int(checksum(header))} {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(n)) //nolint:gosec // as above
	}
	return append(append(dst, header...), body...)
}

func (b *builder) header(places [columns][2]uint32) []byte {
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, t := range b.numbers[columnTime] {
		first, last = min(first, t), max(last, t)
	}
	var header []byte
	for _, n := range []int64{int64(b.rows()), b.start, b.end, b.broken, first, last, int64(len(b.ranges))} {
		header = binary.AppendVarint(header, n)
	}
	for _, r := range b.ranges {
		header = binary.AppendVarint(header, int64(len(r.instance)))
		header = append(header, r.instance...)
		header = binary.AppendVarint(binary.AppendVarint(header, r.first), r.last)
	}
	for _, place := range places {
		header = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(header, place[0]), place[1])
	}
	return header
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// block is one that was written, of which columns are read when they are needed.
type block struct {
	segment     *segment
	from        io.ReaderAt
	at, length  int64 // of the columns, and of the whole block
	rows        int
	start, end  int64
	broken      int64
	first, last int64 // times
	ranges      []span
	places      [columns]place
}

// place is where a column lies.
type place struct {
	at       int64
	length   int
	checksum uint32
}

// maxHeader is more than any header has: of each row one instance.
const maxHeader = blockRows*128 + 1024

// readBlock reads the header of the block at an offset.
func readBlock(from io.ReaderAt, at, size int64) (*block, error) {
	var prefix [prefixLength]byte
	if _, err := from.ReadAt(prefix[:], at); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	var words [4]int64
	for i := range words {
		words[i] = int64(binary.LittleEndian.Uint32(prefix[4*i:]))
	}
	b := &block{from: from, at: at + prefixLength + words[1], length: prefixLength + words[1] + words[2]}
	if words[0] != blockMagic || words[1] > maxHeader || at+b.length > size {
		return nil, errDamaged
	}
	header := make([]byte, words[1])
	if _, err := from.ReadAt(header, at+prefixLength); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if int64(checksum(header)) != words[3] || !b.parse(header, words[2]) {
		return nil, errDamaged
	}
	return b, nil
}

// parse reads a header.
func (b *block) parse(header []byte, body int64) bool {
	d := decoder{header}
	rows := d.number()
	b.start, b.end, b.broken, b.first, b.last = d.number(), d.number(), d.number(), d.number(), d.number()
	ranges := d.number()
	if rows < 1 || rows > blockRows || ranges < 1 || ranges > rows {
		return false
	}
	b.rows = int(rows)
	for range ranges {
		b.ranges = append(b.ranges, span{string(d.bytes(d.number())), d.number(), d.number()})
	}
	at := int64(0)
	for i := range b.places {
		words := d.bytes(8)
		if words == nil {
			return false
		}
		length := int64(binary.LittleEndian.Uint32(words))
		b.places[i] = place{b.at + at, int(length), binary.LittleEndian.Uint32(words[4:])}
		at += length
	}
	return at == body && len(d.rest) == 0
}

// decoder reads numbers and bytes; of what is not there, zeros and nil.
type decoder struct{ rest []byte }

func (d *decoder) number() int64 {
	n, size := binary.Varint(d.rest)
	if size <= 0 {
		d.rest = nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) bytes(n int64) []byte {
	if n < 0 || n > int64(len(d.rest)) {
		d.rest = nil
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

// column reads the bytes of a column.
func (b *block) column(i int) ([]byte, error) {
	p := b.places[i]
	data := make([]byte, p.length)
	if _, err := b.from.ReadAt(data, p.at); err != nil {
		return nil, &staleError{b.segment, fmt.Errorf("%w: %w", errDamaged, err)}
	}
	if checksum(data) != p.checksum {
		return nil, &staleError{b.segment, errDamaged}
	}
	return data, nil
}

// numbers reads a column of numbers into dst.
func (b *block) numbers(dst []int64, i int) ([]int64, error) {
	data, err := b.column(i)
	if err != nil {
		return nil, err
	}
	if dst, err = readNumbers(dst, data, b.rows); err != nil {
		return nil, &staleError{b.segment, err}
	}
	return dst, nil
}

// texts reads the column of a field.
func (b *block) texts(f audit.Field) (column, error) {
	data, err := b.column(numbers + int(f))
	if err != nil {
		return column{}, err
	}
	c, err := readTexts(data, b.rows)
	if err != nil {
		return c, &staleError{b.segment, err}
	}
	return c, nil
}

// staleError is a part of the index that is not about its file any more.
type staleError struct {
	segment *segment
	error
}

// Unwrap returns what was found.
func (e *staleError) Unwrap() error { return e.error }
