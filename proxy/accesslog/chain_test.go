package accesslog

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSealOfALine(t *testing.T) {
	c := newChain("abcdefghijklmnopqrstuvwxyz")
	line := c.seal(nil, []byte(`{"a":1}`+"\n"))
	const first = `{"a":1,"sallyport.log.instance":"abcdefghijklmnopqrstuvwxyz","sallyport.log.sequence":1,` +
		`"sallyport.log.previous":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}` + "\n"
	if string(line) != first {
		t.Errorf("line %s, want %s", line, first)
	}
	// printf '%s' LINE | openssl dgst -sha256 -binary | base64 | tr +/ -_ | tr -d =
	const hash = "S9bp-YfhzNghASXV0fUqWFPOoxb3iqPHIcK62pFc3NM"
	if got := HashOf(line); got != hash || string(c.previous[:]) != hash || HashOf(bytes.TrimSuffix(line, []byte("\n"))) != hash {
		t.Errorf("hash %s, %s, want %s", got, c.previous, hash)
	}
	line = c.seal([]byte("before"), []byte(`{"a":2}`+"\n"))
	seal, ok := ParseSeal(line)
	if want := (Seal{"abcdefghijklmnopqrstuvwxyz", 2, hash}); !ok || seal != want || !bytes.HasPrefix(line, []byte(`before{"a":2,"`)) {
		t.Errorf("seal %+v of %s, want %+v", seal, line, want)
	}
}

func TestInstancesAreOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		name := newInstance()
		if len(name) != instanceLength || !only([]byte(name), base32Lower) || seen[name] {
			t.Fatalf("name %q, after %d others", name, len(seen))
		}
		seen[name] = true
	}
}

func TestWhatIsNoSealIsNotReadAsOne(t *testing.T) {
	c := newChain(newInstance())
	good := string(c.seal(nil, []byte(`{"a":1}`+"\n")))
	for name, line := range map[string]string{
		"nothing":                   "",
		"no seal":                   `{"a":1}`,
		"its beginning":             good[:len(good)-4],
		"its end":                   good[60:],
		"something behind it":       strings.TrimSpace(good) + " ",
		"an instance that is short": strings.Replace(good, c.instance, c.instance[1:], 1),
		"an instance in capitals":   strings.Replace(good, c.instance, strings.ToUpper(c.instance), 1),
		"number 0":                  strings.Replace(good, `sequence":1`, `sequence":0`, 1),
		"number 01":                 strings.Replace(good, `sequence":1`, `sequence":01`, 1),
		"a negative number":         strings.Replace(good, `sequence":1`, `sequence":-1`, 1),
		"a number that is too high": strings.Replace(good, `sequence":1`, `sequence":99999999999999999999`, 1),
		"a hash that is short":      strings.Replace(good, "AAAA", "AAA", 1),
		"a hash of other letters":   strings.Replace(good, "AAAA", "AA+/", 1),
	} {
		if seal, ok := ParseSeal([]byte(line)); ok {
			t.Errorf("%s: %q is read as %+v", name, line, seal)
		}
	}
	c.sequence = math.MaxUint64 - 1
	if seal, ok := ParseSeal(c.seal(nil, []byte("{}\n"))); !ok || seal.Sequence != math.MaxUint64 {
		t.Errorf("the highest number is read as %+v", seal)
	}
}

// TestEveryChangeOfALogIsFound edits, removes, repeats and swaps lines and bytes.
func TestEveryChangeOfALogIsFound(t *testing.T) {
	d := &disk{room: -1}
	l := New(d, "gateway")
	for range 20 {
		r := full()
		if err := l.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := d.bytes()
	verify(t, whole)
	random := rand.New(rand.NewPCG(1, 2))
	changes := []func(lines [][]byte) [][]byte{
		func(lines [][]byte) [][]byte { // but for the last record, which only a later one can prove
			line := lines[random.IntN(len(lines)-1)]
			line[random.IntN(len(line)-1)] ^= byte(1 + random.IntN(255))
			return lines
		},
		func(lines [][]byte) [][]byte {
			i := random.IntN(len(lines) - 1)
			return append(lines[:i], lines[i+1:]...)
		},
		func(lines [][]byte) [][]byte {
			i, j := random.IntN(len(lines)), random.IntN(len(lines)-1)
			if j >= i {
				j++
			}
			lines[i], lines[j] = lines[j], lines[i]
			return lines
		},
		func(lines [][]byte) [][]byte { return append(lines, lines[random.IntN(len(lines))]) },
	}
	for i := range 400 {
		var lines [][]byte
		for line := range bytes.Lines(whole) {
			lines = append(lines, bytes.Clone(line))
		}
		changed := bytes.Join(changes[i%len(changes)](lines), nil)
		instances, err := readChains(changed)
		if err == nil && len(instances) == 1 && len(instances[0].lines) == 20 && instances[0].torn == "" {
			t.Fatalf("change %d is not found:\n%s", i, changed)
		}
	}
}

func TestLastRecordOfAFile(t *testing.T) {
	c := newChain(newInstance())
	first := c.seal(nil, []byte("{}\n"))
	second := c.seal(nil, []byte("{}\n"))
	head := func(line []byte, sequence uint64) *Head { return &Head{c.instance, sequence, HashOf(line)} }
	long := strings.Repeat("x", lastLines-10)
	for name, test := range map[string]struct {
		text string
		want *Head
	}{
		"an empty file":                         {"", nil},
		"lines that are no records":             {"{}\nabc\n", nil},
		"a record":                              {string(first), head(first, 1)},
		"two":                                   {string(first) + string(second), head(second, 2)},
		"a torn one behind it":                  {string(first) + string(second[:70]), head(first, 1)},
		"one that lacks only its line break":    {string(first) + string(second[:len(second)-1]), head(first, 1)},
		"a torn one that was ended":             {string(first) + string(second[:70]) + "\n", head(first, 1)},
		"a part of one after a very long line":  {string(first) + long + string(second[:70]), nil},
		"a record whose beginning is far above": {"{" + long + string(first[1:]), nil},
	} {
		file := filepath.Join(t.TempDir(), "access.log")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := LastOf(file)
		if err != nil || (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, test.want)
		}
	}
	if _, err := LastOf(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there has a last record")
	}
}

// FuzzSeal: whatever a record says, its line is sealed so that it is read back, and
// nothing in it passes for the seal.
func FuzzSeal(f *testing.F) {
	f.Add("/a", `","sallyport.log.sequence":7,"sallyport.log.previous":"`)
	f.Add(keyInstance+"abcdefghijklmnopqrstuvwxyz"+keySequence+"1"+keyPrevious+strings.Repeat("A", 43)+`"}`, "\n")
	f.Fuzz(func(t *testing.T, path, cause string) {
		c := newChain("abcdefghijklmnopqrstuvwxyz")
		previous := string(c.previous[:])
		var buf []byte
		for n := uint64(1); n <= 3; n++ {
			r := Record{Path: path, Cause: cause, UserAgent: path}
			buf = c.seal(buf[:0], r.AppendJSON(nil, "gateway"))
			seal, ok := ParseSeal(buf)
			if !ok || seal != (Seal{c.instance, n, previous}) {
				t.Fatalf("seal %+v, %v of %s", seal, ok, buf)
			}
			if bytes.IndexByte(buf, '\n') != len(buf)-1 || !json.Valid(buf) {
				t.Fatalf("no line of JSON: %q", buf)
			}
			previous = HashOf(buf)
		}
	})
}

// FuzzParseSeal: what it accepts is exactly what seal writes.
func FuzzParseSeal(f *testing.F) {
	c := newChain(newInstance())
	f.Add(string(c.seal(nil, []byte("{}\n"))))
	f.Add(`{` + keyInstance + keySequence + keyPrevious + endOfSeal)
	f.Fuzz(func(t *testing.T, line string) {
		seal, ok := ParseSeal([]byte(line))
		if !ok {
			return
		}
		again := chain{instance: seal.Instance, sequence: seal.Sequence - 1}
		copy(again.previous[:], seal.Previous)
		if end := string(again.seal(nil, []byte("}\n"))); !strings.HasSuffix(strings.TrimSuffix(line, "\n")+"\n", end) {
			t.Fatalf("%q is read as %+v", line, seal)
		}
	})
}
