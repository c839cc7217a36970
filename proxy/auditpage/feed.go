package auditpage

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// Feed hands the lines of the access log on to Recent, in a goroutine of its own. Whoever
// writes the log never waits for it: what finds no room is counted, and not shown.
type Feed struct {
	to      *Recent
	queue   chan string
	waiting atomic.Int64 // bytes in queue, and those that are being handed on
}

// feedQueue is how many batches of lines may wait, and feedBytes how many bytes of them.
const (
	feedQueue = 256
	feedBytes = 8 << 20
)

// NewFeed returns one that hands on while Run runs.
func NewFeed(to *Recent) *Feed {
	return &Feed{to: to, queue: make(chan string, feedQueue)}
}

// Offer takes whole lines, each with its line break, which are not kept. It never waits.
// It is safe for concurrent use.
func (f *Feed) Offer(lines []byte) {
	if f.waiting.Add(int64(len(lines))) <= feedBytes {
		select {
		case f.queue <- string(lines):
			return
		default:
		}
	}
	f.waiting.Add(-int64(len(lines)))
	f.to.Missing(bytes.Count(lines, []byte("\n")))
}

// Run hands lines on until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case lines := <-f.queue:
			f.to.Add(lines)
			f.waiting.Add(-int64(len(lines)))
		}
	}
}

// Fill takes the last lines of the first size bytes of a file, as far as there is room:
// what was written before this process. It is called before Run.
func (f *Feed) Fill(ctx context.Context, name string, size int64) error {
	if size == 0 {
		return nil
	}
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("reading what the access log has already: %w", err)
	}
	defer func() { _ = file.Close() }() // was only read from
	begin := max(0, size-int64(f.to.limit)/2)
	lines := bufio.NewReaderSize(io.NewSectionReader(file, begin, size-begin), 256<<10)
	if begin > 0 {
		if _, err := lines.ReadString('\n'); err != nil {
			return nil // one line that is longer than there is room
		}
	}
	for ctx.Err() == nil {
		line, err := lines.ReadString('\n')
		f.to.Add(line)
		if err != nil {
			return nil // the end; what follows comes by Offer
		}
	}
	return nil
}
