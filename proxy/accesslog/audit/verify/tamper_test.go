package verify_test

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog/audit/verify"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// tampering changes the log of one host, and returns nil where there is nothing to change.
type tampering struct {
	name string
	// kinds are those of which one must be found.
	kinds []verify.Kind
	do    func(rng *rand.Rand, w *world, lines []line) []line
	// inCopies says that a collector's copy may look like that.
	inCopies bool
	// whole leaves the log in one file: what moves to a file of its own has not moved.
	whole bool
}

// record picks a record, by what it has to be; -1 if there is none.
func record(rng *rand.Rand, lines []line, good func(l line) bool) int {
	for range 50 {
		if n := rng.IntN(len(lines)); lines[n].writer != nil && good(lines[n]) {
			return n
		}
	}
	return -1
}

func any1(line) bool { return true }

// isCovered is a record that a checkpoint by Vault covers, which is in the log or
// published.
func isCovered(w *world) func(line) bool {
	return func(l line) bool {
		c := w.published[l.writer.id]
		return c != nil && l.number <= c.Sequence
	}
}

// followed is a record whose successor is there.
func followed(l line) bool { return l.number < l.writer.head.Sequence }

// both is a condition of two.
func both(a, b func(line) bool) func(line) bool { return func(l line) bool { return a(l) && b(l) } }

// remake makes the chain of an instance anew from a line on, as somebody does who can
// write to the file, and has no key. Lines whose number was removed move up.
func remake(lines []line, from int) []line {
	var i *writer
	for _, l := range lines[from:] {
		if l.writer != nil {
			i = l.writer
			break
		}
	}
	if i == nil {
		return lines
	}
	number, previous := uint64(0), logfile.Hash{}
	for n, l := range lines {
		if l.writer != i {
			continue
		}
		r, _ := logfile.Parse([]byte(l.text))
		if n >= from {
			members, _, _ := strings.Cut(l.text, `,"sallyport.log.instance":`)
			text := fmt.Sprintf(`%s,"sallyport.log.instance":"%s","sallyport.log.sequence":%d,"sallyport.log.previous":"%s"}`, members, i.id, number+1, previous)
			r, _ = logfile.Parse([]byte(text))
			lines[n].text = text
		}
		number, previous = r.Sequence, r.Hash()
	}
	return lines
}

// edit changes a letter or a digit of a record, outside of its time's place and seal.
func edit(rng *rand.Rand, text string) string {
	end := strings.Index(text, `,"sallyport.log.instance":`)
	b := []byte(text)
	for {
		n := rng.IntN(end)
		if c := b[n]; n > 50 && (c >= 'a' && c < 'z' || c >= '0' && c < '9') {
			b[n]++
			return string(b)
		}
	}
}

var tamperings = []tampering{
	{"a record is edited", []verify.Kind{verify.Edited, verify.Rewritten}, func(rng *rand.Rand, w *world, lines []line) []line {
		n := record(rng, lines, isCovered(w))
		if n < 0 {
			return nil
		}
		lines[n].text = edit(rng, lines[n].text)
		return lines
	}, false, false},
	{"a record is edited that has a successor", []verify.Kind{verify.Edited}, func(rng *rand.Rand, _ *world, lines []line) []line {
		n := record(rng, lines, followed)
		if n < 0 {
			return nil
		}
		lines[n].text = edit(rng, lines[n].text)
		return lines
	}, false, false},
	{"a record is edited, and the chain made anew", []verify.Kind{verify.Rewritten, verify.Forged}, func(rng *rand.Rand, w *world, lines []line) []line {
		n := record(rng, lines, isCovered(w))
		if n < 0 {
			return nil
		}
		lines[n].text = edit(rng, lines[n].text)
		return remake(lines, n)
	}, false, false},
	{"a hash is edited", []verify.Kind{verify.Edited, verify.Rewritten, verify.Inserted}, func(rng *rand.Rand, w *world, lines []line) []line {
		n := record(rng, lines, func(l line) bool { return isCovered(w)(l) || followed(l) })
		if n < 0 {
			return nil
		}
		at := len(lines[n].text) - 5 - rng.IntN(30)
		c := "A"
		if lines[n].text[at] == 'A' {
			c = "B"
		}
		lines[n].text = lines[n].text[:at] + c + lines[n].text[at+1:]
		return lines
	}, false, false},
	{"a record is removed", []verify.Kind{verify.Removed}, func(rng *rand.Rand, _ *world, lines []line) []line {
		n := record(rng, lines, followed)
		if n < 0 {
			return nil
		}
		return slices.Delete(lines, n, n+1)
	}, false, false},
	{"some records are removed", []verify.Kind{verify.Removed, verify.Truncated, verify.MissingInstance}, func(rng *rand.Rand, w *world, lines []line) []line {
		n := record(rng, lines, both(isCovered(w), followed))
		if n < 0 {
			return nil
		}
		return slices.Delete(lines, n, n+1+rng.IntN(len(lines)-n))
	}, false, false},
	{"a record is removed, and the chain made anew", []verify.Kind{verify.Rewritten, verify.Truncated, verify.Inserted, verify.Forged}, func(rng *rand.Rand, w *world, lines []line) []line {
		n := record(rng, lines, both(isCovered(w), followed))
		if n < 0 {
			return nil
		}
		i := lines[n].writer
		lines = slices.Delete(lines, n, n+1)
		next := slices.IndexFunc(lines[n:], func(l line) bool { return l.writer == i })
		return remake(lines, n+next)
	}, false, false},
	{"a line is inserted", []verify.Kind{verify.Inserted}, func(rng *rand.Rand, _ *world, lines []line) []line {
		strangers := []string{
			`{"@timestamp":"2026-11-22T09:00:00.000000Z","event.action":"access","user.name":"mallory"}`,
			`{"event.action":"access"}`, "hello", "\x00\x01", "x" + lines[0].text, strings.Repeat("y", 2000),
		}
		return slices.Insert(lines, rng.IntN(len(lines)+1), line{text: strangers[rng.IntN(len(strangers))]})
	}, true, false},
	{"a record is inserted", []verify.Kind{verify.Inserted}, func(rng *rand.Rand, _ *world, lines []line) []line {
		n := record(rng, lines, any1)
		if n < 0 {
			return nil
		}
		return slices.Insert(lines, n+rng.IntN(2), line{edit(rng, lines[n].text), lines[n].writer, lines[n].number})
	}, false, false},
	{"a record is inserted, and the chain made anew", []verify.Kind{verify.Rewritten, verify.Inserted, verify.Forged}, func(rng *rand.Rand, w *world, lines []line) []line {
		n := record(rng, lines, isCovered(w))
		if n < 0 {
			return nil
		}
		return remake(slices.Insert(lines, n, line{edit(rng, lines[n].text), lines[n].writer, lines[n].number}), n)
	}, false, false},
	{"two records change places", []verify.Kind{verify.Reordered}, func(rng *rand.Rand, _ *world, lines []line) []line {
		n := record(rng, lines, followed)
		if n < 0 {
			return nil
		}
		next := n + 1 + slices.IndexFunc(lines[n+1:], func(l line) bool { return l.writer == lines[n].writer })
		lines[n], lines[next] = lines[next], lines[n]
		return lines
	}, true, true},
	{"a record is moved to the end", []verify.Kind{verify.Reordered}, func(rng *rand.Rand, _ *world, lines []line) []line {
		n := record(rng, lines, followed)
		if n < 0 {
			return nil
		}
		return append(slices.Delete(slices.Clone(lines), n, n+1), lines[n])
	}, true, true},
	{"two records change places, and the chain is made anew", []verify.Kind{verify.Rewritten, verify.Inserted, verify.Forged}, func(rng *rand.Rand, w *world, lines []line) []line {
		n := record(rng, lines, func(l line) bool { c := w.published[l.writer.id]; return c != nil && l.number < c.Sequence })
		if n < 0 {
			return nil
		}
		next := n + 1 + slices.IndexFunc(lines[n+1:], func(l line) bool { return l.writer == lines[n].writer })
		lines[n], lines[next] = lines[next], lines[n]
		return remake(lines, n)
	}, false, false},
	{"the end is cut off", []verify.Kind{verify.Truncated, verify.MissingInstance}, func(rng *rand.Rand, w *world, lines []line) []line {
		n := record(rng, lines, isCovered(w))
		if n < 0 {
			return nil
		}
		return lines[:n]
	}, false, false},
	{"a log is removed", []verify.Kind{verify.MissingInstance}, func(*rand.Rand, *world, []line) []line { return []line{} }, false, false},
	{"an instance is removed", []verify.Kind{verify.MissingInstance}, func(rng *rand.Rand, _ *world, lines []line) []line {
		n := record(rng, lines, any1)
		if n < 0 {
			return nil
		}
		i := lines[n].writer
		return slices.DeleteFunc(lines, func(l line) bool { return l.writer == i })
	}, false, false},
	{"a record is repeated", []verify.Kind{verify.Repeated}, func(rng *rand.Rand, _ *world, lines []line) []line {
		n := record(rng, lines, any1)
		if n < 0 {
			return nil
		}
		return slices.Insert(lines, n+rng.IntN(len(lines)-n+1), lines[n])
	}, true, false},
	{"some records are repeated", []verify.Kind{verify.Repeated}, func(rng *rand.Rand, _ *world, lines []line) []line {
		n := record(rng, lines, any1)
		if n < 0 {
			return nil
		}
		end := n + 1 + rng.IntN(len(lines)-n)
		return slices.Insert(slices.Clone(lines), end, lines[n:end]...)
	}, true, false},
	{"a signature is forged", []verify.Kind{verify.Forged}, func(rng *rand.Rand, _ *world, lines []line) []line {
		n := record(rng, lines, func(l line) bool { return strings.Contains(l.text, `"signature":"`) })
		if n < 0 {
			return nil
		}
		at := strings.Index(lines[n].text, `"signature":"`) + 15 + rng.IntN(50)
		c := "x"
		if lines[n].text[at] == 'x' {
			c = "y"
		}
		lines[n].text = lines[n].text[:at] + c + lines[n].text[at+1:]
		return remake(lines, n)
	}, false, false},
	{"all of an instance is made anew, with another key under the name of Vault's", []verify.Kind{verify.Forged, verify.UnknownSigner}, func(rng *rand.Rand, w *world, lines []line) []line {
		return resigned(rng, w, lines, signerName+"/v1")
	}, false, false},
	{"all of an instance is made anew, with a key that nobody knows", []verify.Kind{verify.Forged, verify.UnknownSigner}, func(rng *rand.Rand, w *world, lines []line) []line {
		return resigned(rng, w, lines, signerName+"/v2")
	}, false, false},
	{"all of an instance is made anew, with a key of another name", []verify.Kind{verify.Forged, verify.UnknownSigner}, func(rng *rand.Rand, w *world, lines []line) []line {
		return resigned(rng, w, lines, "transit/transit/other/v1")
	}, false, false},
	{"a checkpoint is removed, and the chain made anew", []verify.Kind{verify.Rewritten, verify.Truncated, verify.Forged}, func(rng *rand.Rand, w *world, lines []line) []line {
		n := record(rng, lines, func(l line) bool {
			return strings.Contains(l.text, `"signature":"`) && isCovered(w)(l) && followed(l)
		})
		if n < 0 {
			return nil
		}
		i := lines[n].writer
		lines = slices.Delete(lines, n, n+1)
		return remake(lines, n+slices.IndexFunc(lines[n:], func(l line) bool { return l.writer == i }))
	}, false, false},
}

// resigned edits the first record of an instance, makes its chain anew, and all its
// checkpoints with a key that is not Vault's.
func resigned(rng *rand.Rand, _ *world, lines []line, name string) []line {
	n := record(rng, lines, func(l line) bool {
		return l.number == 1 && slices.ContainsFunc(lines, func(o line) bool {
			return o.writer == l.writer && strings.Contains(o.text, `"signature":"`)
		})
	})
	if n < 0 {
		return nil
	}
	i, heads := lines[n].writer, map[uint64]logfile.Hash{}
	lines[n].text = edit(rng, lines[n].text)
	for n, l := range lines {
		if l.writer != i {
			continue
		}
		r, _ := logfile.Parse([]byte(l.text))
		if object := r.Member(checkpoint.Member); object != nil {
			c, err := checkpoint.Parse(object)
			if err != nil {
				panic(err)
			}
			c.Hash, c.Key = heads[c.Sequence], name
			c.Signature = ed25519.Sign(key(99), c.Message())
			lines[n].text = strings.Replace(l.text, string(object), string(c.AppendJSON(nil)), 1)
		}
		lines = remake(lines, n)
		r, _ = logfile.Parse([]byte(lines[n].text))
		heads[r.Sequence] = r.Hash()
	}
	return lines
}

// TestEveryTamperingIsFound tampers with logs at random in every way that is known,
// and looks whether it is found for what it is: 10,000 times.
func TestEveryTamperingIsFound(t *testing.T) {
	t.Parallel()
	const worlds, each = 100, 100
	var wg sync.WaitGroup
	work := make(chan uint64)
	var mu sync.Mutex
	count := map[string]int{}
	for range runtime.GOMAXPROCS(0) {
		dir := t.TempDir()
		wg.Go(func() {
			for seed := range work {
				tamperWith(t, dir, seed, each, func(name string) {
					mu.Lock()
					defer mu.Unlock()
					count[name]++
				})
			}
		})
	}
	for seed := range uint64(worlds) {
		work <- seed
	}
	close(work)
	wg.Wait()
	total := 0
	for _, tampering := range tamperings {
		total += count[tampering.name]
		if count[tampering.name] < 100 {
			t.Errorf("%q was tried %d times", tampering.name, count[tampering.name])
		}
	}
	if total < worlds*each {
		t.Errorf("%d were tried, expected %d", total, worlds*each)
	}
}

// tamperWith makes a world and tampers with it so many times.
func tamperWith(t *testing.T, dir string, seed uint64, times int, tried func(name string)) {
	rng := rand.New(rand.NewPCG(seed, 2))
	w := newWorld(seed)
	w.live(1+rng.IntN(3), 1+rng.IntN(2), 8)
	files := make([][]string, len(w.hosts))
	for host, lines := range w.hosts {
		files[host] = save(t, rng, filepath.Join(dir, fmt.Sprint("untouched", host)), lines, true)
	}
	check := func(name string, files []string, isCopy bool) *verify.Report {
		rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		report, err := verify.Verify(t.Context(), verify.Config{Files: files, Keys: w.keys, Published: w.heads(), Copy: isCopy})
		if err != nil {
			t.Errorf("seed %d, %s: %v", seed, name, err)
			return &verify.Report{}
		}
		return report
	}
	if report := check("untouched", slices.Concat(files...), rng.IntN(2) > 0); !report.Whole() {
		t.Errorf("seed %d: false alarm: %v", seed, report.Findings)
	}
	for done := 0; done < times; {
		tampering := tamperings[rng.IntN(len(tamperings))]
		host := rng.IntN(len(w.hosts))
		lines := tampering.do(rng, w, slices.Clone(w.hosts[host]))
		if lines == nil || text(lines) == text(w.hosts[host]) {
			continue // two that change places may be the same
		}
		done++
		with := slices.Clone(files)
		with[host] = save(t, rng, filepath.Join(dir, fmt.Sprint(host)), lines, !tampering.whole)
		report := check(tampering.name, slices.Concat(with...), !tampering.inCopies && rng.IntN(2) > 0)
		if !slices.ContainsFunc(report.Findings, func(f verify.Finding) bool { return slices.Contains(tampering.kinds, f.Kind) }) {
			t.Errorf("seed %d: %s: expected one of %v, found %v", seed, tampering.name, tampering.kinds, report.Findings)
		}
		tried(tampering.name)
	}
}
