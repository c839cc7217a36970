package index

import (
	"bytes"
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/logtest"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// FuzzBlock reads blocks that somebody has made up: with a right checksum even, none
// takes more than it may or ends the process.
func FuzzBlock(f *testing.F) {
	b := newBuilder()
	b.reset(0)
	reader, err := logfile.New(bytes.NewReader(logtest.NewCompany(1, monday).Lines(nil, logtest.NewChain("a"), 20)), "log", nil)
	if err != nil {
		f.Fatal(err)
	}
	for range 20 {
		line, err := reader.Next()
		if err != nil {
			f.Fatal(err)
		}
		b.line(line, line.Offset+int64(len(line.Text))+1)
	}
	whole := b.append(nil)
	f.Add(whole, uint16(0), byte(0))
	f.Add(whole, uint16(20), byte(255))
	f.Fuzz(func(t *testing.T, text []byte, at uint16, change byte) {
		text = bytes.Clone(text)
		if len(text) > 0 {
			text[int(at)%len(text)] ^= change
		}
		block, err := readBlock(bytes.NewReader(text), 0, int64(len(text)))
		if err != nil {
			return
		}
		for i := range block.places {
			block.places[i].length = min(block.places[i].length, len(text)) // what is not there is not read
			data := make([]byte, block.places[i].length)
			if n, _ := bytes.NewReader(text).ReadAt(data, block.places[i].at); n == len(data) {
				block.places[i].checksum = checksum(data)
			}
		}
		var numbers []int64
		for i := range columns {
			if numbers, err = block.numbers(numbers, i); err == nil && len(numbers) != block.rows {
				t.Errorf("column %d has %d numbers, expected %d", i, len(numbers), block.rows)
			}
		}
		for field := range audit.Fields {
			if c, err := block.texts(field); err == nil {
				for row := range block.rows {
					_ = c.values[c.code(row)]
				}
			}
		}
	})
}
