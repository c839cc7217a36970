package accesslog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// written is what an instance left behind.
type written struct {
	instance string
	lines    []string // whole records, without their line breaks
	torn     string   // what follows them and is no record
}

// record is what tests ask of a line.
type record struct {
	Action      Action `json:"event.action"`
	RequestID   string `json:"http.request.id"`
	Decision    string `json:"sallyport.decision"`
	Dropped     int    `json:"sallyport.log.dropped"`
	Start       string `json:"event.start"`
	End         string `json:"event.end"`
	Time        string `json:"@timestamp"`
	Predecessor *struct {
		Instance, Hash string
		Sequence       uint64
	} `json:"sallyport.log.predecessor"`
}

// records are the lines, read.
func (w written) records(tb testing.TB) []record {
	tb.Helper()
	all := make([]record, len(w.lines))
	for i, line := range w.lines {
		if err := json.Unmarshal([]byte(line), &all[i]); err != nil {
			tb.Fatalf("line %d: %v", i+1, err)
		}
	}
	return all
}

// verify reads a log of one instance, and demands that it is a whole chain.
func verify(tb testing.TB, log []byte) written {
	tb.Helper()
	instances, err := readChains(log)
	if err != nil {
		tb.Fatal(err)
	}
	if len(instances) != 1 {
		tb.Fatalf("%d instances, want 1", len(instances))
	}
	return *instances[0]
}

// readChains reads a log of instances that followed each other. Each must be a whole
// chain, behind which there may be one line that is torn.
func readChains(log []byte) (instances []*written, err error) {
	var now *written
	var previous string
	for line := range bytes.Lines(log) {
		line, ended := bytes.CutSuffix(line, []byte{'\n'})
		seal, ok := ParseSeal(line)
		switch {
		case !ended || !ok || !json.Valid(line):
			if now == nil || now.torn != "" {
				return nil, fmt.Errorf("more than one torn line: %.300s", line)
			}
			now.torn = string(line)
			continue
		case now == nil || seal.Instance != now.instance:
			now, previous = &written{instance: seal.Instance}, strings.Repeat("A", hashLength)
			instances = append(instances, now)
		}
		if seal.Sequence != uint64(len(now.lines)+1) || seal.Previous != previous || now.torn != "" {
			return nil, fmt.Errorf("record breaks the chain: %+v, expected number %d and previous %s; torn: %q", seal, len(now.lines)+1, previous, now.torn)
		}
		previous = HashOf(line)
		now.lines = append(now.lines, string(line))
	}
	return instances, nil
}
