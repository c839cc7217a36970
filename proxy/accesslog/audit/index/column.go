package index

import (
	"encoding/binary"
	"errors"
	"math"
)

// errDamaged is an index whose own files do not hold what was written to them.
var errDamaged = errors.New("the index is damaged")

// appendNumbers appends a column of numbers: the smallest of them, how many bytes
// each has, and for each what it is more than the smallest.
func appendNumbers(dst []byte, values []int64) []byte {
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for _, v := range values {
		least, most = min(least, v), max(most, v)
	}
	width := widthOf(uint64(most) - uint64(least)) //nolint:gosec // wraps around, and back
	dst = binary.LittleEndian.AppendUint64(dst, uint64(least))
	dst = append(dst, width)
	for _, v := range values {
		dst = appendNumber(dst, uint64(v)-uint64(least), width) //nolint:gosec // as above
	}
	return dst
}

// widthOf is how many bytes numbers up to n have: 0, 1, 2, 4 or 8.
func widthOf(n uint64) byte {
	switch {
	case n == 0:
		return 0
	case n <= math.MaxUint8:
		return 1
	case n <= math.MaxUint16:
		return 2
	case n <= math.MaxUint32:
		return 4
	}
	return 8
}

func appendNumber(dst []byte, n uint64, width byte) []byte {
	for range width {
		dst = append(dst, byte(n))
		n >>= 8
	}
	return dst
}

// readNumbers reads a column of n numbers into dst, which it returns.
func readNumbers(dst []int64, column []byte, n int) ([]int64, error) {
	if len(column) < 9 {
		return nil, errDamaged
	}
	least, width := binary.LittleEndian.Uint64(column), int(column[8])
	column = column[9:]
	if width > 8 || len(column) != n*width {
		return nil, errDamaged
	}
	dst = dst[:0]
	for i := range n {
		dst = append(dst, int64(least+readNumber(column[i*width:], width))) //nolint:gosec // wraps around, and back
	}
	return dst, nil
}

func readNumber(from []byte, width int) (n uint64) {
	switch width {
	case 1:
		return uint64(from[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(from))
	case 4:
		return uint64(binary.LittleEndian.Uint32(from))
	case 8:
		return binary.LittleEndian.Uint64(from)
	}
	return 0
}

// texts is a column of texts that is being made: each different one once, and for
// each row which one.
type texts struct {
	codes  map[string]uint16
	values []string
	rows   []uint16
}

// add puts value, which it copies if need be, into the given row. Rows come in order,
// each at most once; those that are left out have "".
func (t *texts) add(row int, value []byte) {
	if len(t.rows) > row {
		return // a name that a record has twice: the first one counts
	}
	t.fill(row)
	code, known := t.codes[string(value)]
	if !known {
		code = t.code(string(value))
	}
	t.rows = append(t.rows, code)
}

// fill gives rows before the given one their "".
func (t *texts) fill(row int) {
	if len(t.rows) >= row {
		return
	}
	code := t.code("")
	for len(t.rows) < row {
		t.rows = append(t.rows, code)
	}
}

func (t *texts) code(value string) uint16 {
	code, known := t.codes[value]
	if !known {
		code = uint16(len(t.values)) //nolint:gosec // no more than there are rows in a block
		t.codes[value] = code
		t.values = append(t.values, value)
	}
	return code
}

func (t *texts) reset() {
	clear(t.codes)
	t.values, t.rows = t.values[:0], t.rows[:0]
}

// append appends the column: how many texts, each with its length, and for each row
// the number of its text.
func (t *texts) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t.values)))
	for _, v := range t.values {
		dst = binary.AppendUvarint(dst, uint64(len(v)))
		dst = append(dst, v...)
	}
	width := widthOf(uint64(len(t.values) - 1)) //nolint:gosec // at least one text for at least one row
	for _, code := range t.rows {
		dst = appendNumber(dst, uint64(code), width)
	}
	return dst
}

// column is one of texts that was read. Its texts lie in the bytes that it was read
// from.
type column struct {
	values [][]byte
	rows   []byte
	width  int
}

// readTexts reads a column of n rows.
func readTexts(from []byte, n int) (c column, err error) {
	count, size := binary.Uvarint(from)
	if size <= 0 || count == 0 || count > uint64(n) { //nolint:gosec // n is no less than 0
		return c, errDamaged
	}
	from = from[size:]
	c.values = make([][]byte, count)
	for i := range c.values {
		length, size := binary.Uvarint(from)
		if size <= 0 || length > uint64(len(from)-size) { //nolint:gosec // no more was read than there is
			return c, errDamaged
		}
		c.values[i] = from[size : size+int(length)] //nolint:gosec // was just compared
		from = from[size+int(length):]              //nolint:gosec // likewise
	}
	c.width, c.rows = int(widthOf(count-1)), from
	if len(from) != n*c.width || c.width > 2 {
		return c, errDamaged
	}
	for i := range n {
		if c.code(i) >= len(c.values) {
			return c, errDamaged
		}
	}
	return c, nil
}

// code returns which of the texts a row has.
func (c *column) code(row int) int {
	return int(readNumber(c.rows[row*c.width:], c.width)) //nolint:gosec // at most two bytes
}
