package spool

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// line is record n, of a length that follows from n.
func line(n int) string { return fmt.Sprintf("%d %s\n", n, strings.Repeat("x", n*37%500)) }

// lines are records from first to last.
func lines(first, last int) []byte {
	var b bytes.Buffer
	for n := first; n <= last; n++ {
		b.WriteString(line(n))
	}
	return b.Bytes()
}

func testConfig(t *testing.T, dir string) Config {
	t.Helper()
	return Config{Directory: dir, Size: 16 << 20, Name: "siem", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func open(t *testing.T, cfg Config) *Spool {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(); s.unopen() })
	return s
}

func add(t *testing.T, s *Spool, first, last int) {
	t.Helper()
	if err := s.Append(Entry{Lines: lines(first, last), Instance: "a", Last: uint64(last)}); err != nil {
		t.Fatal(err)
	}
}

// drain reads everything that is there, and acknowledges it if asked.
func drain(t *testing.T, s *Spool, limit int, ack bool) []byte {
	t.Helper()
	var got []byte
	for {
		chunk, _, err := s.poll(limit)
		if err != nil {
			t.Fatal(err)
		}
		if chunk.Count == 0 {
			return got
		}
		if want := bytes.Count(chunk.Lines, []byte{'\n'}); chunk.Count != want {
			t.Errorf("chunk of %d lines says %d", want, chunk.Count)
		}
		got = append(got, chunk.Lines...)
		if ack {
			if err := s.Ack(chunk); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func expect(t *testing.T, got []byte, first, last int) {
	t.Helper()
	if want := lines(first, last); !bytes.Equal(got, want) {
		t.Fatalf("%d lines, beginning %.20q, want records %d to %d", bytes.Count(got, []byte{'\n'}), got, first, last)
	}
}

func TestWhatIsAppendedIsReadInOrderAndOnce(t *testing.T) {
	s := open(t, testConfig(t, t.TempDir()))
	for n := 1; n <= 900; n += 3 {
		add(t, s, n, n+2)
	}
	first, err := s.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, first.Lines, 1, 3)
	expect(t, drain(t, s, 4096, true), 4, 900)
	if stats := s.Stats(); stats != (Stats{}) {
		t.Errorf("stats when all is acknowledged: %+v", stats)
	}
}

func TestReadingAgainBeginsBehindWhatWasAcknowledged(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	s := open(t, cfg)
	for n := 1; n <= 30; n++ {
		add(t, s, n, n)
	}
	for range 10 {
		chunk, err := s.Read(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Ack(chunk); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, drain(t, s, 1, false), 11, 30)
	s.Rewind()
	expect(t, drain(t, s, 1<<20, false), 11, 30)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, cfg)
	if head := next.Head(); head != (Head{"a", 30}) {
		t.Errorf("head after it is opened again: %+v", head)
	}
	expect(t, drain(t, next, 1<<20, false), 11, 30)
	add(t, next, 31, 31)
	expect(t, drain(t, next, 1<<20, true), 31, 31)
}

func TestSegmentsThatAreAcknowledgedAreRemoved(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	s := open(t, cfg)
	size := func() (n int) {
		all, err := listSegments(s.dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	last := 0
	for ; size() < 4; last += 50 {
		add(t, s, last+1, last+50)
	}
	expect(t, drain(t, s, 1<<20, true), 1, last)
	if got := size(); got != 1 {
		t.Errorf("%d segments after all is acknowledged, want the last", got)
	}
	var onDisk int64
	for _, segment := range s.segments {
		onDisk += segment.size
	}
	if s.bytes != onDisk {
		t.Errorf("%d bytes counted, %d on disk", s.bytes, onDisk)
	}
}

func TestAFullSpool(t *testing.T) {
	const size = 1 << 20
	t.Run("that denies says so early, and loses nothing", func(t *testing.T) {
		cfg := testConfig(t, t.TempDir())
		cfg.Size = size
		s := open(t, cfg)
		last, early := 0, 0
		for {
			err := s.Append(Entry{Lines: lines(last+1, last+40), Last: 1})
			if errors.Is(err, ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			last += 40
			if s.Err() != nil && early == 0 {
				early = last
			}
		}
		if s.bytes > size || early == 0 || early >= last {
			t.Errorf("%d bytes of %d; said to be full at record %d of %d", s.bytes, size, early, last)
		}
		expect(t, drain(t, s, 4096, true), 1, last)
		if s.Err() != nil {
			t.Errorf("once everything is taken: %v", s.Err())
		}
		if err := s.Append(Entry{Lines: lines(last+1, last+1), Last: 2}); err != nil || s.Err() != nil {
			t.Errorf("once there is room again: %v, %v", err, s.Err())
		}
	})
	t.Run("that drops loses the oldest, and counts them", func(t *testing.T) {
		cfg := testConfig(t, t.TempDir())
		cfg.Size, cfg.Drop = size, true
		s := open(t, cfg)
		last := 0
		for ; last < 10_000; last += 40 {
			add(t, s, last+1, last+40)
			if s.bytes > size || s.Err() != nil {
				t.Fatalf("%d bytes of %d, %v", s.bytes, size, s.Err())
			}
		}
		dropped := int(s.Stats().Dropped)
		if dropped == 0 || dropped > last {
			t.Fatalf("%d dropped of %d", dropped, last)
		}
		expect(t, drain(t, s, 4096, true), dropped+1, last)
	})
	t.Run("that drops what is being sent forgets the late acknowledgement", func(t *testing.T) {
		cfg := testConfig(t, t.TempDir())
		cfg.Size, cfg.Drop = size, true
		s := open(t, cfg)
		add(t, s, 1, 40)
		chunk, err := s.Read(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		last := 40
		for ; s.Stats().Dropped == 0; last += 40 {
			add(t, s, last+1, last+40)
		}
		dropped := int(s.Stats().Dropped)
		if err := s.Ack(chunk); err != nil {
			t.Fatal(err)
		}
		expect(t, drain(t, s, 4096, true), dropped+1, last)
	})
	t.Run("takes an entry as large as itself by no means", func(t *testing.T) {
		cfg := testConfig(t, t.TempDir())
		cfg.Size, cfg.Drop = size, true
		s := open(t, cfg)
		add(t, s, 1, 40)
		if err := s.Append(Entry{Lines: append(make([]byte, size), '\n')}); !errors.Is(err, ErrFull) {
			t.Errorf("Append = %v, want ErrFull", err)
		}
	})
}

func TestOnlyWholeLinesAreTaken(t *testing.T) {
	s := open(t, testConfig(t, t.TempDir()))
	if err := s.Append(Entry{Lines: []byte("half a li")}); err == nil {
		t.Error("half a line was taken")
	}
	if err := s.Append(Entry{}); err != nil || len(s.segments) != 0 {
		t.Errorf("nothing at all: %v, %d segments", err, len(s.segments))
	}
}

// TestWhateverIsTornIsCutOff cuts the last segment at every place, and adds noise.
func TestWhateverIsTornIsCutOff(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	cfg.Log = slog.New(slog.DiscardHandler)
	s := open(t, cfg)
	var ends []int64
	for n := 1; n <= 4; n++ {
		add(t, s, n, n)
		ends = append(ends, s.segments[0].size)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := s.segments[0].name(s.dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range int64(len(whole)) {
		torn := append(bytes.Clone(whole[:cut]), bytes.Repeat([]byte{0xff, 0}, int(cut)%3*20)...)
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, end := range ends {
			if end <= cut {
				want++
			}
		}
		next, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		add(t, next, want+1, want+1)
		got := drain(t, next, 1<<20, false)
		next.unopen()
		if err := errors.Join(next.Close(), next.clear()); err != nil {
			t.Fatal(err)
		}
		expect(t, got, 1, want+1)
	}
}

// TestDamageCostsNoMoreThanItsSegment changes a byte in the middle of what waits.
func TestDamageCostsNoMoreThanItsSegment(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	s := open(t, cfg)
	last := 0
	first := 0 // the last record of the first segment
	for ; len(s.segments) < 3; last += 50 {
		add(t, s, last+1, last+50)
		if len(s.segments) == 1 {
			first = last + 50
		}
	}
	f, err := os.OpenFile(s.segments[0].name(s.dir), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, h, err := readEntry(nil, f, int64(segmentHeader), s.segments[0].size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{'!'}, int64(segmentHeader)+h.size()+entryHeader+3); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if got, want := drain(t, s, 1<<20, true), append(lines(1, 50), lines(first+1, last)...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes are read, want %d", len(got), len(want))
	}
	if s.Stats().Dropped == 0 {
		t.Error("nothing is said to be lost")
	}
}

func TestReadWaits(t *testing.T) {
	s := open(t, testConfig(t, t.TempDir()))
	read := make(chan error)
	go func() {
		for {
			chunk, err := s.Read(t.Context(), 1<<20)
			if err == nil && string(chunk.Lines) != line(1) {
				err = fmt.Errorf("read %q", chunk.Lines)
			}
			read <- err
			if err != nil {
				return
			}
		}
	}()
	add(t, s, 1, 1)
	if err := <-read; err != nil {
		t.Error(err)
	}
	_ = s.Close()
	if err := <-read; !errors.Is(err, ErrClosed) {
		t.Errorf("Read of a spool that is closed = %v", err)
	}
	other, ended := open(t, testConfig(t, t.TempDir())), canceled()
	if _, err := other.Read(ended, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Read of nobody who waits = %v", err)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestProcessesOfOneDirectory(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	first, second := open(t, cfg), open(t, cfg)
	if first.dir == second.dir {
		t.Fatalf("both use %s", first.dir)
	}
	add(t, first, 1, 100)
	add(t, second, 101, 200)
	if err := second.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, drain(t, second, 1<<20, false), 101, 200)
	chunk, err := first.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Ack(chunk); err != nil {
		t.Fatal(err)
	}
	add(t, first, 301, 310)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, drain(t, second, 1<<20, true), 301, 310)
	if left, err := listSegments(first.dir); err != nil || len(left) > 0 {
		t.Errorf("%d segments are left (%v)", len(left), err)
	}
	if again := open(t, cfg); again.dir != first.dir {
		t.Errorf("the free folder %s is not used, but %s", first.dir, again.dir)
	}
}

func TestStatsSaySinceWhen(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(testConfig(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		defer s.unopen()
		began := time.Now()
		add(t, s, 1, 1)
		<-time.After(time.Minute)
		add(t, s, 2, 2)
		if stats := s.Stats(); !stats.Oldest.Equal(began) || stats.Bytes == 0 {
			t.Errorf("stats %+v, oldest should be %v", stats, began)
		}
		chunk, err := s.Read(t.Context(), 1)
		if err != nil || s.Ack(chunk) != nil {
			t.Fatal(err)
		}
		if stats := s.Stats(); !stats.Oldest.Equal(began.Add(time.Minute)) {
			t.Errorf("stats %+v, oldest should be a minute after %v", stats, began)
		}
	})
}

// TestWritersAndAReaderAtOnce is for the race detector.
func TestWritersAndAReaderAtOnce(t *testing.T) {
	s := open(t, testConfig(t, t.TempDir()))
	const writers, each = 4, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				if err := s.Append(Entry{Lines: fmt.Appendf(nil, "%d/%d\n", w, n)}); err != nil {
					t.Error(err)
				}
				_, _ = s.Err(), s.Stats()
			}
		})
	}
	next := make([]int, writers)
	for got := 0; got < writers*each; {
		chunk, err := s.Read(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.Lines(string(chunk.Lines)) {
			var w, n int
			if _, err := fmt.Sscanf(text, "%d/%d", &w, &n); err != nil || n != next[w] {
				t.Fatalf("%q (%v), want number %d", text, err, next[w])
			}
			next[w]++
			got++
		}
		if got%3 == 0 {
			if err := s.Ack(chunk); err != nil {
				t.Fatal(err)
			}
		}
	}
	wg.Wait()
}

// The process that TestKilledAtAnyMoment kills.
const childDirectory = "SALLYPORT_TEST_SPOOL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirectory); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child appends records without end, reads and acknowledges them, and says each thing
// that is done.
func child(dir string) error {
	s, err := Open(Config{Directory: dir, Size: 16 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for n := int(s.Head().Last) + 1; ; n += 5 {
		if err := s.Append(Entry{Lines: lines(n, n+4), Instance: "a", Last: uint64(n + 4)}); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "appended %d\n", n+4)
		_ = out.Flush()
		if n%3 == 0 {
			continue
		}
		chunk, err := s.Read(context.Background(), 1000)
		if err != nil {
			return err
		}
		last, _, _ := strings.Cut(string(chunk.Lines[bytes.LastIndexByte(chunk.Lines[:len(chunk.Lines)-1], '\n')+1:]), " ")
		_, _ = fmt.Fprintf(out, "taken %s\n", last) // by a collector
		_ = out.Flush()
		if err := s.Ack(chunk); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "acknowledged %s\n", last)
		_ = out.Flush()
	}
}

// TestKilledAtAnyMoment kills a process with SIGKILL again and again: what it has
// appended is there, what it has acknowledged is not, and nothing is torn.
func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	said := map[string]int{}
	for range 25 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDirectory+"="+dir)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		killAt := 1 + rand.IntN(60)
		scanner := bufio.NewScanner(pipe)
		for seen := 0; scanner.Scan(); seen++ {
			if what, n, ok := strings.Cut(scanner.Text(), " "); ok {
				said[what], _ = strconv.Atoi(n)
			}
			if seen == killAt {
				_ = cmd.Process.Kill()
			}
		}
		if err := cmd.Wait(); err == nil || complaint.Len() > 0 {
			t.Fatalf("the process ended by itself: %v, %s", err, &complaint)
		}
		first, last := judgeKilled(t, dir)
		if last < said["appended"] || first > said["taken"]+1 || first < said["acknowledged"]+1 {
			t.Fatalf("records %d to %d are there; it had %v", first, last, said)
		}
	}
}

// judgeKilled says which records wait in a spool whose process is dead.
func judgeKilled(t *testing.T, dir string) (first, last int) {
	t.Helper()
	cfg := testConfig(t, dir)
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer s.unopen()
	got := drain(t, s, 1<<20, false)
	last = int(s.Head().Last)
	if len(got) == 0 {
		return last + 1, last
	}
	text, _, _ := strings.Cut(string(got), " ")
	if first, err = strconv.Atoi(text); err != nil {
		t.Fatal(err)
	}
	expect(t, got, first, last)
	return first, last
}

// FuzzEntries: whatever a segment holds, what is read from it are whole entries, each
// written as it is read, and reading ends.
func FuzzEntries(f *testing.F) {
	valid := appendEntry(nil, Entry{Lines: lines(1, 3), Instance: "a", Last: 3}, time.Unix(1, 0))
	f.Add([]byte{})
	f.Add(valid)
	f.Add(append(bytes.Clone(valid), valid[:40]...))
	f.Add(append(bytes.Clone(valid), valid...))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, size := bytes.NewReader(content), int64(len(content))
		for offset := int64(0); offset < size; {
			text, h, err := readEntry(nil, r, offset, size)
			if err != nil {
				return
			}
			again := appendEntry(nil, Entry{Lines: text, Instance: h.head.Instance, Last: h.head.Last}, h.time)
			if end := offset + h.size(); !bytes.Equal(again, content[offset:end]) || text[len(text)-1] != '\n' {
				t.Fatalf("entry %q is read as %q of %+v", content[offset:end], text, h)
			}
			offset += h.size()
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	s, err := Open(Config{Directory: b.TempDir(), Size: 16 << 20, Drop: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	e := Entry{Lines: lines(1, 100), Instance: "a", Last: 100}
	b.SetBytes(int64(len(e.Lines)))
	for b.Loop() {
		if err := s.Append(e); err != nil {
			b.Fatal(err)
		}
	}
}
