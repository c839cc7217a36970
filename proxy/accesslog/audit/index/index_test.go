package index

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/logtest"
)

var monday = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func compress(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// fewRows are those of a block in these tests, so that there are many blocks.
const fewRows = 256

func opened(t *testing.T, dir string, files ...string) *Index {
	t.Helper()
	x, err := open(t.Context(), dir, fewRows, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

// lines are the lines of an answer.
func lines(t *testing.T, x *Index, q audit.Query) []string {
	t.Helper()
	var all []string
	for entry, err := range x.Query(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(entry.Line))
	}
	return all
}

// world is a folder with a log as it is after some days: rotated, compressed, of two
// gateways, with damage, and with a copy of a part.
func world(t *testing.T, rows int) (files []string) {
	t.Helper()
	dir := t.TempDir()
	first, second := logtest.NewChain("first"), logtest.NewChain("second")
	company := logtest.NewCompany(1, monday)
	add := func(name string, content []byte) {
		name = filepath.Join(dir, name)
		writeFile(t, name, content)
		files = append(files, name)
	}
	oldest := company.Lines(nil, first, rows)
	add("access.log.2.gz", compress(t, oldest))
	add("collected.log", oldest[:bytes.IndexByte(oldest[len(oldest)/2:], '\n')+len(oldest)/2+1]) // a copy of a half
	middle := company.Lines(nil, first, rows)
	middle = append(middle, "no record\n\n{\"@timestamp\":\"2026-11-23T08:\n"...)
	middle = company.Lines(middle, second, rows/2) // was started anew
	add("access.log.1", middle)
	other := logtest.NewCompany(2, monday)
	syslog := bytes.ReplaceAll(other.Lines(nil, logtest.NewChain("third"), rows), []byte("{\"@timestamp"), []byte("<134>1 - - - {\"@timestamp"))
	add("other.log", syslog)
	live := company.Lines(nil, second, rows/3)
	add("access.log", live[:len(live)-100]) // the last line is being written
	return files
}

// TestAnswersAreThoseOfAScan asks random questions of the index, and of the lines
// themselves.
func TestAnswersAreThoseOfAScan(t *testing.T) {
	files := world(t, 1200)
	x := opened(t, filepath.Join(t.TempDir(), "index"), files...)
	all, err := readAll(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 4000 {
		t.Fatalf("%d entries", len(all))
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		q := randomQuery(random, all)
		want, err := scan(all, q)
		if err != nil {
			t.Fatal(err)
		}
		if q.Limit > 0 && len(want) > q.Limit {
			want = want[:q.Limit]
		}
		var wanted []string
		for _, e := range want {
			wanted = append(wanted, string(e.Line))
		}
		if diff := cmp.Diff(wanted, lines(t, x, q)); diff != "" {
			t.Fatalf("%+v: %d expected (-scan +index):\n%.2000s", q, len(want), diff)
		}
		by := randomFields(random)
		groups, err := scanCount(all, q.Filter, by)
		if err != nil {
			t.Fatal(err)
		}
		counted, err := x.Count(t.Context(), q.Filter, by...)
		if err != nil {
			t.Fatal(err)
		}
		if len(groups)+len(counted) > 0 {
			if diff := cmp.Diff(groups, counted); diff != "" {
				t.Fatalf("%+v by %v (-scan +index):\n%.2000s", q.Filter, by, diff)
			}
		}
	}
}

// randomQuery asks for something that some entry has.
func randomQuery(random *rand.Rand, all []audit.Entry) audit.Query {
	e := &all[random.IntN(len(all))]
	var q audit.Query
	for range 1 + random.IntN(2) {
		switch random.IntN(14) {
		case 0:
			q.User = e.Value(audit.User)
		case 1:
			q.Route = e.Value(audit.Route)[:random.IntN(3)] + "*"
		case 2:
			q.Address = []string{e.Value(audit.Address), "10.1.0.0/16"}[random.IntN(2)]
		case 3:
			q.Decision = e.Value(audit.Decision)
		case 4:
			q.Rule = []string{e.Value(audit.Rule), "admin", "group:finance"}[random.IntN(3)]
		case 5:
			q.RequestID = e.Value(audit.RequestID)
		case 6:
			q.Session = e.Value(audit.Session)
		case 7:
			q.PathPrefix = "/login"
		case 8:
			q.Text = []string{"EVIL", "no_session", "delete"}[random.IntN(3)]
		case 9:
			q.Since = e.Time
		case 10:
			q.Until = e.Time
		case 11:
			q.Since, q.Until = e.Time, e.Time.Add(time.Minute)
		case 12:
			q.Instance = e.Value(audit.Instance)
		case 13:
			q.After = e.Cursor()
		}
	}
	q.OldestFirst = random.IntN(2) == 0
	q.Limit = []int{0, 1, 10, 300}[random.IntN(4)]
	return q
}

func randomFields(random *rand.Rand) (by []audit.Field) {
	for range random.IntN(MaxBy + 1) {
		by = append(by, []audit.Field{audit.User, audit.Route, audit.Reason, audit.Rule, audit.Hour, audit.Day, audit.Status}[random.IntN(7)])
	}
	return by
}

// TestCursorsDivideAnAnswer asks for a page after the other.
func TestCursorsDivideAnAnswer(t *testing.T) {
	x := opened(t, "", world(t, 1000)...)
	for _, oldest := range []bool{false, true} {
		whole := lines(t, x, audit.Query{OldestFirst: oldest, Filter: audit.Filter{Decision: "deny"}})
		var pages []string
		after := ""
		for range len(whole)/7 + 1 {
			for entry, err := range x.Query(t.Context(), audit.Query{OldestFirst: oldest, Filter: audit.Filter{Decision: "deny"}, Limit: 7, After: after}) {
				if err != nil {
					t.Fatal(err)
				}
				pages, after = append(pages, string(entry.Line)), entry.Cursor()
			}
		}
		if diff := cmp.Diff(whole, pages); diff != "" || len(whole) < 50 {
			t.Errorf("%d lines (-whole +pages):\n%.1000s", len(whole), diff)
		}
	}
}

// TestExtentCountsWhatIsNoRecord says what the index is about.
func TestExtentCountsWhatIsNoRecord(t *testing.T) {
	files, records := world(t, 1000), 0
	for _, name := range files {
		all, err := readAll(t.Context(), []string{name})
		if err != nil {
			t.Fatal(err)
		}
		records += len(all)
	}
	e := opened(t, "", files...).Extent()
	if e.Files != 5 || e.Broken != 2 || e.Records != int64(records) || e.First.Before(monday) || !e.Last.After(e.First) {
		t.Errorf("extent %+v", e)
	}
}

// written are the blocks that an index has: where they begin as they did, nothing was
// read again.
func written(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.Name(), extBlocks) {
			all[f.Name()] = string(content)
		}
	}
	return all
}

// TestFilesAreKnownAgain rotates, compresses, renames and appends; what was read
// once is not read again, and answers are those of a new index.
func TestFilesAreKnownAgain(t *testing.T) {
	dir, logs := filepath.Join(t.TempDir(), "index"), t.TempDir()
	live, rotated, archived := filepath.Join(logs, "access.log"), filepath.Join(logs, "access.log.1"), filepath.Join(logs, "access.log.1.gz")
	chain, company := logtest.NewChain("a"), logtest.NewCompany(5, monday)
	content := company.Lines(nil, chain, 3*fewRows+100)
	writeFile(t, live, content)
	x := opened(t, dir, live)
	names := []string{live}
	segments := 1
	blocks := written(t, dir)
	steps := []struct {
		name string
		do   func()
	}{
		{"nothing happens", func() {}},
		{"lines are appended", func() {
			content = company.Lines(content, chain, 300)
			writeAppend(t, live, content)
		}},
		{"a line is appended in two parts", func() {
			more := company.Lines(nil, chain, 1)
			writeAppend(t, live, append(content, more[:50]...))
			if err := x.Update(t.Context(), live); err != nil {
				t.Fatal(err)
			}
			content = append(content, more...)
			writeAppend(t, live, content)
		}},
		{"the file is renamed, and there is a new one", func() {
			rename(t, live, rotated)
			writeFile(t, live, company.Lines(nil, chain, 100))
			names, segments = []string{rotated, live}, 2
		}},
		{"the old one is being compressed: both are there", func() {
			writeFile(t, archived, compress(t, content))
			names, segments = []string{archived, rotated, live}, 3
		}},
		{"the old one is gone", func() {
			if err := os.Remove(rotated); err != nil {
				t.Fatal(err)
			}
			names, segments = []string{live, archived}, 2
		}},
		{"the old one is renamed", func() {
			rename(t, archived, filepath.Join(logs, "access.log.2.gz"))
			names = []string{live, filepath.Join(logs, "access.log.2.gz")}
		}},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			step.do()
			if err := x.Update(t.Context(), names...); err != nil {
				t.Fatal(err)
			}
			if got := x.Extent().Files; got != segments {
				t.Errorf("%d segments, expected %d", got, segments)
			}
			for name, before := range blocks {
				if now := written(t, dir)[name]; !strings.HasPrefix(now, before) || before == "" {
					t.Errorf("%s was written again", name)
				}
			}
			if diff := cmp.Diff(lines(t, opened(t, "", names...), audit.Query{}), lines(t, x, audit.Query{})); diff != "" {
				t.Errorf("answers (-new index +this):\n%.1000s", diff)
			}
		})
	}
}

// TestACompressedFileTakesOverWhatWasReadOfIt has no other file to go by.
func TestACompressedFileTakesOverWhatWasReadOfIt(t *testing.T) {
	dir, logs := filepath.Join(t.TempDir(), "index"), t.TempDir()
	live, archived := filepath.Join(logs, "access.log"), filepath.Join(logs, "access.log.1.gz")
	content := logtest.NewCompany(5, monday).Lines(nil, logtest.NewChain("a"), 2*fewRows)
	writeFile(t, live, content[:len(content)/2])
	x := opened(t, dir, live)
	before := written(t, dir)
	if err := os.Remove(live); err != nil {
		t.Fatal(err)
	}
	writeFile(t, archived, compress(t, content))
	if err := x.Update(t.Context(), archived); err != nil {
		t.Fatal(err)
	}
	if after := written(t, dir); len(before) > 1 || len(after) != 1 {
		t.Errorf("%d files of blocks before, %d after", len(before), len(after))
	}
	if got := x.Extent().Records; got != 2*fewRows {
		t.Errorf("%d records", got)
	}
}

// writeAppend makes a file what it was and more, as an appending process does.
func writeAppend(t *testing.T, name string, content []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestAReplacedFileIsReadAnew has other content under the name, or even in the inode.
func TestAReplacedFileIsReadAnew(t *testing.T) {
	one := logtest.NewCompany(5, monday).Lines(nil, logtest.NewChain("a"), fewRows+100)
	two := logtest.NewCompany(6, monday).Lines(nil, logtest.NewChain("b"), fewRows+300)
	longer := logtest.NewCompany(5, monday).Lines(nil, logtest.NewChain("a"), fewRows+101)
	edited := bytes.Replace(longer, []byte("person"), []byte("nobody"), 1)
	cutInside := bytes.Index(one[len(one)/2:], []byte("\n")) + len(one)/2 + 1
	for name, after := range map[string][]byte{
		"another file": two, "truncated": one[:cutInside], "truncated to nothing": nil,
		"the first line edited": edited, "cut within the last block": one[:len(one)-10],
		"its last line edited": append(bytes.Clone(one[:len(one)-400]), bytes.Replace(one[len(one)-400:], []byte("10."), []byte("11."), 1)...),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "access.log")
			writeFile(t, file, one)
			x := opened(t, filepath.Join(t.TempDir(), "index"), file)
			writeFile(t, file, after) // in the same inode
			touch(t, file)
			if err := x.Update(t.Context(), file); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(lines(t, opened(t, "", file), audit.Query{}), lines(t, x, audit.Query{})); diff != "" {
				t.Errorf("answers (-new index +this):\n%.1000s", diff)
			}
		})
	}
}

// touch makes sure that a file was changed later than before.
func touch(t *testing.T, name string) {
	t.Helper()
	later := time.Now().Add(time.Second)
	if err := os.Chtimes(name, later, later); err != nil {
		t.Fatal(err)
	}
}

// TestALineThatChangedIsNotAnswered edits a line behind the index's back; the answer
// is what the file says now.
func TestALineThatChangedIsNotAnswered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	content := logtest.NewCompany(5, monday).Lines(nil, logtest.NewChain("a"), 100)
	writeFile(t, file, content)
	x := opened(t, filepath.Join(t.TempDir(), "index"), file)
	writeAppend(t, file, bytes.ReplaceAll(content, []byte("person"), []byte("nobody")))
	for _, line := range lines(t, x, audit.Query{}) {
		if strings.Contains(line, "person") {
			t.Fatalf("answered %s", line)
		}
	}
	if got := lines(t, x, audit.Query{Filter: audit.Filter{User: "person*"}}); len(got) > 0 {
		t.Errorf("%d lines of people who are not there", len(got))
	}
}

// TestADamagedIndexIsMadeAnew damages each of its files in many places.
func TestADamagedIndexIsMadeAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	writeFile(t, file, logtest.NewCompany(5, monday).Lines(nil, logtest.NewChain("a"), fewRows+100))
	whole := opened(t, "", file)
	q := audit.Query{Filter: audit.Filter{Decision: "deny"}}
	want := lines(t, whole, q)
	groups, err := whole.Count(t.Context(), q.Filter, audit.User)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		dir := filepath.Join(t.TempDir(), "index")
		opened(t, dir, file)
		damage(t, random, dir)
		x := opened(t, dir, file)
		if i%2 == 0 {
			if diff := cmp.Diff(want, lines(t, x, q)); diff != "" {
				t.Fatalf("answers (-whole +damaged):\n%.1000s", diff)
			}
			continue
		}
		got, err := x.Count(t.Context(), q.Filter, audit.User)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(groups, got); diff != "" {
			t.Fatalf("groups (-whole +damaged):\n%.1000s", diff)
		}
	}
}

// damage changes, cuts or removes one of the index's files.
func damage(t *testing.T, random *rand.Rand, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	name := files[random.IntN(2)]
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	switch random.IntN(4) {
	case 0:
		content = content[:random.IntN(len(content))]
	case 1:
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		return
	default:
		for range 1 + random.IntN(5) {
			content[random.IntN(len(content))] ^= byte(1 + random.IntN(255))
		}
	}
	writeFile(t, name, content)
}

// TestTheIndexIsNobodyElses holds what the index writes to its owner.
func TestTheIndexIsNobodyElses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	writeFile(t, file, logtest.NewCompany(5, monday).Lines(nil, logtest.NewChain("a"), fewRows+100))
	dir := filepath.Join(t.TempDir(), "index")
	opened(t, dir, file)
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, file); err == nil || !strings.Contains(err.Error(), "nobody else may enter") {
		t.Errorf("an index that others may write to: %v", err)
	}
}

// TestTheIndexLeadsNowhereElse puts links into its folder, in place of its files: what
// they lead to is not written to.
func TestTheIndexLeadsNowhereElse(t *testing.T) {
	file, precious := filepath.Join(t.TempDir(), "access.log"), filepath.Join(t.TempDir(), "precious")
	writeFile(t, file, logtest.NewCompany(5, monday).Lines(nil, logtest.NewChain("a"), 2*fewRows))
	writeFile(t, precious, []byte("precious"))
	dir := filepath.Join(t.TempDir(), "index")
	opened(t, dir, file)
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 3 {
		t.Fatalf("files %v, %v", names, err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(precious, name); err != nil {
			t.Fatal(err)
		}
		if x, err := open(t.Context(), dir, fewRows, []string{file}); err == nil {
			_ = x.Close()
		}
		content, err := os.ReadFile(precious)
		if err != nil || string(content) != "precious" {
			t.Fatalf("%s has led to %q, %v", filepath.Base(name), content, err)
		}
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	opened(t, dir, file)
}

// TestAPipeIsNoLog does not wait for who would write to it.
func TestAPipeIsNoLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log.1")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := opened(t, "", name).Extent(); e.Files != 0 {
		t.Errorf("extent %+v", e)
	}
}

// TestAQuestionEndsWithItsContext does not go on for nobody.
func TestAQuestionEndsWithItsContext(t *testing.T) {
	x := opened(t, "", world(t, 1000)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range x.Query(ctx, audit.Query{}) {
		if err == nil {
			t.Fatal("an entry")
		}
	}
	if _, err := x.Count(ctx, audit.Filter{}); err == nil {
		t.Error("a count")
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Count(t.Context(), audit.Filter{}); err == nil {
		t.Error("a count of a closed index")
	}
}

// TestAnUpdateGoesOnWhereItEnded cuts the first reading off.
func TestAnUpdateGoesOnWhereItEnded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	writeFile(t, file, logtest.NewCompany(5, monday).Lines(nil, logtest.NewChain("a"), 6*fewRows))
	dir := filepath.Join(t.TempDir(), "index")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(ctx, dir, fewRows, []string{file}); err == nil {
		t.Fatal("opened")
	}
	x := opened(t, dir, file)
	if got := x.Extent().Records; got != 6*fewRows {
		t.Errorf("%d records", got)
	}
}

// TestProcessesShareAnIndex opens the same folder several times at once, while the log
// grows.
func TestProcessesShareAnIndex(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "access.log"), filepath.Join(t.TempDir(), "index")
	chain, company := logtest.NewChain("a"), logtest.NewCompany(5, monday)
	content := company.Lines(nil, chain, fewRows)
	writeFile(t, file, content)
	one, two := opened(t, dir, file), opened(t, dir, file)
	for i := range 10 {
		content = company.Lines(content, chain, 200)
		writeAppend(t, file, content)
		x := []*Index{one, two}[i%2]
		if err := x.Update(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		for j, y := range []*Index{one, two} {
			groups, err := y.Count(t.Context(), audit.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			behind := int64(0)
			if j != i%2 {
				behind = 200
			}
			if want := int64(fewRows+200*(i+1)) - behind; groups[0].Count != want && i > 0 {
				t.Errorf("after %d: %d records, expected %d", i, groups[0].Count, want)
			}
		}
	}
}

// BenchmarkMillion is what a million lines cost: go test -bench Million -benchtime 1x.
func BenchmarkMillion(b *testing.B) {
	dir := b.TempDir()
	var files []string
	chain, company := logtest.NewChain("a"), logtest.NewCompany(5, monday)
	size := 0
	for i := range 10 {
		name := filepath.Join(dir, fmt.Sprintf("access.log.%d", i))
		content := company.Lines(nil, chain, 100_000)
		size += len(content)
		if err := os.WriteFile(name, content, 0o600); err != nil {
			b.Fatal(err)
		}
		files = append(files, name)
	}
	index := filepath.Join(dir, "index")
	b.Run("index", func(b *testing.B) {
		for b.Loop() {
			_ = os.RemoveAll(index)
			x, err := Open(b.Context(), index, files...)
			if err != nil {
				b.Fatal(err)
			}
			_ = x.Close()
		}
		b.ReportMetric(float64(size), "log-bytes")
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			x, err := Open(b.Context(), index, files...)
			if err != nil {
				b.Fatal(err)
			}
			_ = x.Close()
		}
	})
	x, err := Open(b.Context(), index, files...)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	for name, q := range map[string]audit.Query{
		"newest 100":         {Limit: 100},
		"newest 100 denials": {Filter: audit.Filter{Decision: "deny"}, Limit: 100},
		"one request":        {Filter: audit.Filter{RequestID: "nothing"}},
		"one person":         {Filter: audit.Filter{User: "person17@example.com"}},
		"one address":        {Filter: audit.Filter{Address: "10.1.0.0/24", Decision: "deny"}},
		"text":               {Filter: audit.Filter{Text: "nowhere at all"}},
		"everything":         {},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n := 0
				for _, err := range x.Query(b.Context(), q) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				b.ReportMetric(float64(n), "entries")
			}
		})
	}
	b.Run("count by tool, person, decision", func(b *testing.B) {
		for b.Loop() {
			if _, err := x.Count(b.Context(), audit.Filter{}, audit.Route, audit.User, audit.Decision); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("count by day", func(b *testing.B) {
		for b.Loop() {
			if _, err := x.Count(b.Context(), audit.Filter{}, audit.Day); err != nil {
				b.Fatal(err)
			}
		}
	})
}
