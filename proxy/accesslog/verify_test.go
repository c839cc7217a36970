package accesslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// written is what a log left behind.
type written struct {
	lines []string // whole records, without their line breaks
	torn  string   // what stands behind the last line break
}

// actions counts the records of each action.
func (w written) actions() map[Action]int {
	count := make(map[Action]int)
	for _, line := range w.lines {
		var record struct {
			Action Action `json:"event.action"`
		}
		_ = json.Unmarshal([]byte(line), &record) // verified before
		count[record.Action]++
	}
	return count
}

// verify reads a log of one instance, and demands that it is a whole chain.
func verify(tb testing.TB, log []byte) written {
	tb.Helper()
	w, err := readChain(log)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func readChain(log []byte) (w written, err error) {
	end := bytes.LastIndexByte(log, '\n') + 1
	w.torn = string(log[end:])
	previous, instance := strings.Repeat("A", hashLength), ""
	for line := range bytes.Lines(log[:end]) {
		seal, ok := ParseSeal(line)
		if !ok || !json.Valid(line) {
			return w, fmt.Errorf("line %d is no sealed record: %.300s", len(w.lines)+1, line)
		}
		if instance == "" {
			instance = seal.Instance
		}
		if seal.Instance != instance || seal.Sequence != uint64(len(w.lines)+1) || seal.Previous != previous {
			return w, fmt.Errorf("line %d breaks the chain: %+v, expected previous %s", len(w.lines)+1, seal, previous)
		}
		previous = HashOf(line)
		w.lines = append(w.lines, string(line[:len(line)-1]))
	}
	return w, nil
}
