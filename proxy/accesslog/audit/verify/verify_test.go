package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog/audit/verify"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// text are a host's lines as they stand in a file.
func text(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.String()
}

// small is a log of one instance: its start, a checkpoint, five requests, a
// checkpoint, its end. Line n has record n.
func small() *world {
	w := newWorld(7)
	i := w.start(0)
	add := func(vault bool) {
		c := i.sign(vault)
		i.write(fmt.Sprintf(`,"event.action":"checkpoint","%s":%s`, checkpoint.Member, c.AppendJSON(nil)))
		w.published[i.id] = c
	}
	add(true)
	for range 5 {
		i.access()
	}
	add(true)
	i.end()
	return w
}

// judge verifies some text as the standard input.
func judge(t *testing.T, w *world, content string, change ...func(*verify.Config)) *verify.Report {
	t.Helper()
	cfg := verify.Config{Files: []string{logfile.Stdin}, Input: strings.NewReader(content), Keys: w.keys, Published: w.heads()}
	for _, change := range change {
		change(&cfg)
	}
	report, err := verify.Verify(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// short are findings or notes as kind, line and sequence numbers.
func short(findings []verify.Finding) (all []string) {
	for _, f := range findings {
		_, line, _ := strings.Cut(f.Place, ":")
		all = append(all, fmt.Sprintf("%s %s %d-%d", f.Kind, line, f.Sequence, f.Through))
	}
	return all
}

func aCopy(c *verify.Config)     { c.Copy = true }
func anExcerpt(c *verify.Config) { c.Partial = true }
func noVault(c *verify.Config)   { c.Published = nil }

func TestFindings(t *testing.T) {
	w := small()
	lines := w.hosts[0]
	join := func(parts ...[]line) string { return text(slices.Concat(parts...)) }
	raw := func(s string) []line { return []line{{text: s}} }
	tests := []struct {
		name   string
		give   string
		change []func(*verify.Config)
		want   []string // findings
		notes  []string
	}{
		{name: "untouched", give: join(lines)},
		{name: "untouched, and lines that broke off", give: join(raw(lines[1].text[:60]), lines[:4], raw(""), raw(lines[4].text[:200]), lines[4:]),
			notes: []string{"torn 1 0-0", "torn 7 0-0"}},
		{name: "untouched, and a record behind one that broke off", give: join(lines[:4]) + lines[4].text[:99] + join(lines[4:]), notes: []string{"torn 5 0-0"}},
		{name: "the last line without its break", give: strings.TrimSuffix(join(lines), "\n")},
		{name: "edited", give: join(lines[:3], raw(strings.Replace(lines[3].text, "access", "accese", 1)), lines[4:]), want: []string{"edited 4 4-0"}},
		{name: "removed", give: join(lines[:3], lines[5:]), want: []string{"removed 4 4-5"}},
		{name: "the beginning is missing", give: join(lines[2:]), want: []string{"removed 1 1-2"}},
		{name: "the beginning of an excerpt", give: join(lines[2:]), change: []func(*verify.Config){anExcerpt}, notes: []string{"not_given 1 1-2"}},
		{name: "cut off", give: join(lines[:5]), want: []string{"truncated 5 6-9"}, notes: []string{"not_ended 5 5-0"}},
		{name: "cut off, and nobody who knows", give: join(lines[:5]), change: []func(*verify.Config){noVault}, notes: []string{"not_ended 5 5-0"}},
		{name: "the end of an excerpt", give: join(lines[:5]), change: []func(*verify.Config){anExcerpt}, notes: []string{"not_given 5 6-9", "not_ended 5 5-0"}},
		{name: "all is gone", give: "", want: []string{"missing_instance  1-9"}},
		{name: "repeated", give: join(lines[:5], lines[2:5], lines[5:]), want: []string{"repeated 6 3-5"}},
		{name: "repeated at the end", give: join(lines, lines[2:3]), want: []string{"repeated 10 3-3"}},
		{name: "repeated and edited", give: join(lines[:5], raw(strings.Replace(lines[3].text, "access", "accese", 1)), lines[5:]), want: []string{"inserted 6 4-4"}},
		{name: "reordered", give: join(lines[:3], lines[4:5], lines[3:4], lines[5:]), want: []string{"reordered 5 4-0"}},
		{name: "a foreign line", give: join(lines[:3], raw("hello"), lines[3:]), want: []string{"inserted 4 0-0"}},
		{name: "a record without a seal", give: join(lines[:3], raw(`{"@timestamp":"2026-11-22T09:00:00.000000Z","user.name":"mallory"}`), lines[3:]), want: []string{"inserted 4 0-0"}},
		{name: "something before a record", give: join(lines[:3]) + "hello " + join(lines[3:]), want: []string{"inserted 4 0-0"}},
		{name: "a line without end", give: join(lines[:3], raw(strings.Repeat("x", logfile.MaxLine+1)), lines[3:]), want: []string{"inserted 4 0-0"}},
		{name: "a checkpoint with another signature", give: join(lines[:7], raw(strings.Replace(lines[7].text, `"signature":"`, `"signature":"AAAA`, 1)), lines[8:]),
			want: []string{"forged_checkpoint 8 8-0", "edited 8 8-0"}},
		{name: "a checkpoint of another key", give: join(lines), change: []func(*verify.Config){noVault, func(c *verify.Config) { c.Keys = checkpoint.Keys{"transit/x/y/v1": key(3).Public()} }},
			want: []string{"unknown_signer 2 1-0"}},
		{name: "without keys", give: join(lines), change: []func(*verify.Config){noVault, func(c *verify.Config) { c.Keys = nil }}, want: []string{"unknown_signer 2 1-0"}},
		{name: "the chain alone", give: join(lines), change: []func(*verify.Config){noVault, func(c *verify.Config) { c.Keys, c.ChainOnly = nil, true }}},
		{name: "what is published is not signed", give: join(lines), change: []func(*verify.Config){func(c *verify.Config) {
			forged := *c.Published[0]
			forged.Signature = []byte("x")
			c.Published = []*checkpoint.Checkpoint{&forged}
		}}, want: []string{"forged_checkpoint  9-0"}},
		{name: "what is published is none", give: join(lines), change: []func(*verify.Config){func(c *verify.Config) { c.PublishedFaults = []error{errors.New("x")} }}, want: []string{"forged_checkpoint  0-0"}},
		{name: "the compression is broken", give: string(compressed(t, []byte(join(lines))))[:400], change: []func(*verify.Config){noVault},
			want: []string{"unreadable 2 0-0"}, notes: []string{"not_ended 1 1-0"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			report := judge(t, w, test.give, test.change...)
			if diff := cmp.Diff(test.want, short(report.Findings)); diff != "" {
				t.Errorf("findings (-want +got):\n%s%v", diff, report.Findings)
			}
			if diff := cmp.Diff(test.notes, short(report.Notes)); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestACollectorsCopy is what is received at least once, in some order, behind headers
// and between the lines of others.
func TestACollectorsCopy(t *testing.T) {
	w := newWorld(3)
	w.live(3, 2, 30)
	var received []string
	for host, lines := range w.hosts {
		for n, l := range lines {
			if l.writer == nil {
				continue // a line that broke off is not sent
			}
			received = append(received, fmt.Sprintf("<134>1 2026-11-22T09:00:00Z host%d sallyport - - - %s", host, l.text))
			if n%5 == 4 { // the connection broke, and the batch is sent again
				for _, again := range lines[n-2 : n+1] {
					if again.writer != nil {
						received = append(received, again.text)
					}
				}
			}
		}
		received = append(received, "something else entirely", `{"@timestamp":"2026-11-22T09:00:00.000000Z","service.name":"other"}`)
	}
	w.rng.Shuffle(20, func(i, j int) { received[i], received[j] = received[j], received[i] })
	content := strings.Join(received, "\n") + "\n"
	report := judge(t, w, content, aCopy)
	if !report.Whole() || report.Foreign != 6 {
		t.Errorf("%d foreign lines, and %v", report.Foreign, report.Findings)
	}
	var repeats, moved uint64
	for _, i := range report.Instances {
		repeats, moved = repeats+i.Repeats, moved+i.Moved
	}
	if repeats == 0 || moved == 0 {
		t.Errorf("%d repeats and %d moved were counted", repeats, moved)
	}
	if report := judge(t, w, content); report.Whole() {
		t.Error("as a log itself, it is whole")
	}
	at := slices.IndexFunc(received, func(s string) bool { return strings.Contains(s, `"user.name":"u3"`) })
	edited := strings.Replace(content, received[at], strings.Replace(received[at], `"u3"`, `"u4"`, 1), 1)
	if report := judge(t, w, edited, aCopy); report.Whole() {
		t.Error("an edited record in a copy is not found")
	}
}

func TestMissingCheckpointsAreMissed(t *testing.T) {
	type step struct {
		after      time.Duration
		checkpoint bool
		took       time.Duration // of a request that ends then
	}
	seconds := func(n, every int, with bool) (steps []step) {
		for i := range n {
			steps = append(steps, step{after: time.Duration(every) * time.Second, checkpoint: with && i%6 == 0})
		}
		return steps
	}
	tests := []struct {
		name  string
		steps []step
		want  int
	}{
		{"as promised", seconds(100, 10, true), 0},
		{"never", seconds(100, 10, false), 1},
		{"nothing happens for a day", []step{{after: time.Second, checkpoint: true}, {after: 24 * time.Hour}, {after: time.Second, checkpoint: true}}, 0},
		{"a request that took a day", []step{{after: time.Second, checkpoint: true}, {after: 24 * time.Hour, took: 24 * time.Hour}, {after: time.Second}, {after: time.Second, checkpoint: true}}, 0},
		{"none for a while", slices.Concat(seconds(30, 10, true), seconds(30, 10, false), seconds(30, 10, true)), 1},
		{"a little late", slices.Concat(seconds(30, 10, true), seconds(11, 10, false), seconds(30, 10, true)), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(1)
			i := w.start(0)
			i.checkpointNow()
			for _, s := range test.steps {
				w.now = w.now.Add(s.after)
				end := w.now
				w.now = w.now.Add(-s.took)
				i.write(fmt.Sprintf(`,"event.action":"access","event.duration":%d`, s.took))
				if w.now = end; s.checkpoint {
					i.checkpointNow()
				}
			}
			report := judge(t, w, text(w.hosts[0]), noVault)
			if len(report.Findings) != test.want || test.want > 0 && report.Findings[0].Kind != verify.MissingCheckpoint {
				t.Errorf("findings: %v, expected %d", report.Findings, test.want)
			}
		})
	}
}

// checkpointNow writes a checkpoint of the last record.
func (i *writer) checkpointNow() {
	c := i.sign(true)
	i.write(fmt.Sprintf(`,"event.action":"checkpoint","%s":%s`, checkpoint.Member, c.AppendJSON(nil)))
}

func TestAnOwnKeyAloneIsNobodysWord(t *testing.T) {
	w := newWorld(1)
	i := w.start(0)
	i.access()
	i.checkpoint(false)
	if report := judge(t, w, text(w.hosts[0])); len(report.Findings) != 1 || report.Findings[0].Kind != verify.MissingCheckpoint {
		t.Errorf("without Vault: %v", report.Findings)
	}
	i.checkpoint(true)
	if report := judge(t, w, text(w.hosts[0])); !report.Whole() || report.Instances[0].OwnCheckpoints != 1 {
		t.Errorf("signed by Vault later: %+v", report)
	}
}

func TestALogWithoutAKeyIsAChainAlone(t *testing.T) {
	w := newWorld(1)
	i := &writer{w: w}
	copy(i.id[:], strings.Repeat("a", 26))
	w.hosts = [][]line{nil}
	i.write(`,"event.action":"log_start"`)
	i.write(`,"event.action":"access"`)
	i.write(`,"event.action":"log_end"`)
	content := text(w.hosts[0])
	if report := judge(t, w, content, func(c *verify.Config) { c.ChainOnly = true }); !report.Whole() {
		t.Errorf("with the chain alone: %v", report.Findings)
	}
	if report := judge(t, w, content); len(report.Findings) != 1 || report.Findings[0].Kind != verify.MissingCheckpoint {
		t.Errorf("where signatures are expected: %v", report.Findings)
	}
}

// TestCheckpointsFarFromTheirRecords are looked for a second time.
func TestCheckpointsFarFromTheirRecords(t *testing.T) {
	for _, tampered := range []bool{false, true} {
		w := newWorld(1)
		i, other := w.start(0), w.start(1)
		for range 30_000 {
			i.write(`,"event.action":"access"`)
			if i.head.Sequence == 100 {
				w.published[i.id] = i.sign(true)
				if tampered {
					w.published[i.id].Hash[0]++
					w.published[i.id].Signature = nil
				}
			}
		}
		other.checkpointNow()
		i.checkpointNow()
		other.checkpointNow()
		report := judge(t, w, text(w.hosts[1])+text(w.hosts[0]), noVault)
		if tampered != (len(report.Findings) == 1 && report.Findings[0].Kind == verify.Rewritten) || !tampered != report.Whole() {
			t.Errorf("tampered with: %t; findings %v", tampered, report.Findings)
		}
	}
}

func TestFilesThatCannotBeOpened(t *testing.T) {
	_, err := verify.Verify(t.Context(), verify.Config{Files: []string{filepath.Join(t.TempDir(), "none")}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verify.Verify(ctx, verify.Config{Files: []string{"-"}, Input: strings.NewReader("x")}); !errors.Is(err, context.Canceled) {
		t.Errorf("after an interruption: %v", err)
	}
}

// TestDisorderIsBounded: what takes more memory than there is for one verification is
// told, and ends nothing.
func TestDisorderIsBounded(t *testing.T) {
	w := newWorld(1)
	i := w.start(0)
	for range 50_000 {
		i.write(`,"event.action":"access"`)
	}
	var odd []line
	for n, l := range w.hosts[0] {
		if n%2 == 0 {
			odd = append(odd, l)
		}
	}
	report := judge(t, w, text(odd), noVault)
	if report.FindingCount < verify.MaxFindings || len(report.Findings) != verify.MaxFindings ||
		!slices.ContainsFunc(report.Findings, func(f verify.Finding) bool { return f.Kind == verify.Overflow }) {
		t.Errorf("%d findings, of which %d are named", report.FindingCount, len(report.Findings))
	}
}

func TestReportForPeople(t *testing.T) {
	w := small()
	var b bytes.Buffer
	report := judge(t, w, text(w.hosts[0])+"\x1b[31mred\n")
	if _, err := report.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`10 lines in 1 file: 9 records of 1 instance

instance %[1]s, ended
  records      1 to 9, from 2026-11-22T09:00:00.000000Z to %[2]s
  checkpoints  2 by Vault, 0 by its own key; promised every 1m0s and every 10000 records, by transit/transit/sallyport-log
  signed       up to 9 by Vault; 0 records behind that on the chain alone

findings (1):
  -:10: inserted: no record of an access log: "\x1b[31mred"
`, w.instances[0].id, w.now.Format(logfile.TimeFormat))
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// FuzzVerify: whatever a file holds, verifying it ends, and what a copy allows is no
// more than a log.
func FuzzVerify(f *testing.F) {
	w := small()
	whole := text(w.hosts[0])
	f.Add([]byte(whole), false)
	f.Add([]byte(whole[:len(whole)/2]+whole), true)
	f.Add([]byte("{\"@timestamp\":\"\n\x1f\x8b"), false)
	f.Fuzz(func(t *testing.T, content []byte, partial bool) {
		if len(content) > 1<<20 {
			return
		}
		cfg := verify.Config{Files: []string{"-"}, Keys: w.keys, Partial: partial}
		cfg.Input = bytes.NewReader(content)
		report, err := verify.Verify(t.Context(), cfg)
		if err != nil {
			return // the head of a compression that is none
		}
		cfg.Copy, cfg.Input = true, bytes.NewReader(content)
		asCopy, err := verify.Verify(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if report.Whole() && !asCopy.Whole() {
			t.Errorf("whole as a log, but not as a copy: %v", asCopy.Findings)
		}
		if _, err := report.WriteTo(&bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
	})
}
