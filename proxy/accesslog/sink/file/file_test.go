package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

func line(n int) string { return fmt.Sprintf("%06d %s\n", n, strings.Repeat("x", n*37%200)) }

// batch is records from first to last.
func batch(first, last int) *accesslog.Batch {
	var b bytes.Buffer
	for n := first; n <= last; n++ {
		b.WriteString(line(n))
	}
	return &accesslog.Batch{Lines: b.Bytes(), First: uint64(first), Last: uint64(last), Count: last - first + 1, Instance: "a"}
}

func testConfig(t *testing.T) Config {
	t.Helper()
	return Config{Name: "file", Path: filepath.Join(t.TempDir(), "access.log"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func open(t *testing.T, cfg Config) *File {
	t.Helper()
	f, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func write(t *testing.T, f *File, first, last int) {
	t.Helper()
	if err := f.Write(t.Context(), batch(first, last)); err != nil {
		t.Fatal(err)
	}
}

// whole is what all files hold together, the oldest first.
func whole(t *testing.T, path string) []byte {
	t.Helper()
	names, err := Old(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range append(names, path) {
		content, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) && name == path {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".gz") {
			zip, err := gzip.NewReader(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			if content, err = io.ReadAll(zip); err != nil {
				t.Fatal(err)
			}
		}
		if len(content) > 0 && content[len(content)-1] != '\n' {
			t.Errorf("%s ends inside of a record", name)
		}
		all = append(all, content...)
	}
	return all
}

func expect(t *testing.T, path string, last int) {
	t.Helper()
	if got, want := whole(t, path), batch(1, last).Lines; !bytes.Equal(got, want) {
		t.Fatalf("%d lines in all, want %d; or in another order", bytes.Count(got, []byte{'\n'}), last)
	}
}

func countOld(t *testing.T, path string) int {
	t.Helper()
	names, err := Old(path)
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestANewFileIsBegunBySize(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size = 4096
	f := open(t, cfg)
	for n := 1; n <= 200; n += 5 {
		write(t, f, n, n+4)
	}
	names, err := Old(cfg.Path)
	if err != nil || len(names) < 3 {
		t.Fatalf("old files %q (%v)", names, err)
	}
	for _, name := range append(names, cfg.Path) {
		info, err := os.Stat(name)
		if err != nil || info.Size() > cfg.Size || info.Mode().Perm()&^0o640 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	expect(t, cfg.Path, 200)
}

func TestABatchLargerThanAFileIsOneFile(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size = 100
	f := open(t, cfg)
	write(t, f, 1, 50)
	write(t, f, 51, 100)
	if got := countOld(t, cfg.Path); got != 1 {
		t.Errorf("%d old files, want 1", got)
	}
	expect(t, cfg.Path, 100)
}

func TestANewFileIsBegunByTime(t *testing.T) {
	cfg := testConfig(t)
	cfg.Every = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) { // begins at midnight UTC
		f := open(t, cfg)
		wait := func(d time.Duration) { <-time.After(d) }
		wait(23 * time.Hour)
		write(t, f, 1, 3)
		wait(59 * time.Minute)
		write(t, f, 4, 4)
		if got := countOld(t, cfg.Path); got != 0 {
			t.Fatalf("%d old files before midnight", got)
		}
		wait(time.Minute)
		write(t, f, 5, 5)
		wait(72 * time.Hour) // in which nothing happens
		write(t, f, 6, 6)
		if got := countOld(t, cfg.Path); got != 2 {
			t.Errorf("%d old files after two midnights with records between, want 2", got)
		}
	})
	expect(t, cfg.Path, 6)
}

func TestAFileOfAnEarlierPeriodIsRotatedByTheNextProcess(t *testing.T) {
	cfg := testConfig(t)
	cfg.Every = time.Hour
	write(t, open(t, cfg), 1, 3)
	before := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(cfg.Path, before, before); err != nil {
		t.Fatal(err)
	}
	f := open(t, cfg)
	write(t, f, 4, 4)
	write(t, f, 5, 5)
	if got := countOld(t, cfg.Path); got != 1 {
		t.Errorf("%d old files, want 1", got)
	}
	expect(t, cfg.Path, 5)
}

func TestSomebodyElseRotates(t *testing.T) {
	cases := map[string]struct {
		do   func(path string) error
		lost int // records up to here are gone
	}{
		"renamed": {do: func(path string) error { return os.Rename(path, path+".1") }},
		"renamed and replaced": {do: func(path string) error {
			return errors.Join(os.Rename(path, path+".1"), os.WriteFile(path, nil, 0o640))
		}},
		"removed":   {do: os.Remove, lost: 10},
		"truncated": {do: func(path string) error { return os.Truncate(path, 0) }, lost: 10},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			f := open(t, cfg)
			write(t, f, 1, 10)
			if err := c.do(cfg.Path); err != nil {
				t.Fatal(err)
			}
			write(t, f, 11, 20)
			before, err := os.ReadFile(cfg.Path + ".1")
			if err != nil && c.lost == 0 {
				t.Fatal(err)
			}
			after, err := os.ReadFile(cfg.Path)
			if err != nil {
				t.Fatal(err)
			}
			if want := batch(c.lost+1, 20).Lines; !bytes.Equal(append(before, after...), want) {
				t.Errorf("before %d bytes, after %d, want %d in all", len(before), len(after), len(want))
			}
		})
	}
}

func TestWhatCannotBeRotatedGrows(t *testing.T) {
	cfg := testConfig(t)
	cfg.Path = filepath.Join(filepath.Dir(cfg.Path), strings.Repeat("l", 250)) // no name for an old file
	cfg.Size = 1000
	f := open(t, cfg)
	for n := 1; n <= 30; n += 10 {
		write(t, f, n, n+9)
	}
	if f.Stuck() == nil {
		t.Error("no error is told")
	}
	expect(t, cfg.Path, 30)
}

func TestAPipeIsNotRotated(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size = 10
	if err := syscall.Mkfifo(cfg.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan []byte)
	go func() {
		content, _ := os.ReadFile(cfg.Path)
		read <- content
	}()
	f := open(t, cfg)
	write(t, f, 1, 5)
	write(t, f, 6, 9)
	if err := errors.Join(f.Sync(t.Context()), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got := <-read; !bytes.Equal(got, batch(1, 9).Lines) {
		t.Errorf("%d bytes came through", len(got))
	}
}

// TestTwoProcessesShareAFile: both rotate it, and each notices what the other does.
func TestTwoProcessesShareAFile(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size, cfg.Compress = 8192, true
	ctx, cancel := context.WithCancel(t.Context())
	var wg, tidy sync.WaitGroup
	const writers, each = 3, 400
	for w := range writers {
		f := open(t, cfg)
		tidy.Go(func() { f.Run(ctx) })
		wg.Go(func() {
			for n := range each {
				b := &accesslog.Batch{Lines: fmt.Appendf(nil, "%d %d %s\n", w, n, strings.Repeat("y", n%300)), Count: 1}
				if err := f.Write(t.Context(), b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	cancel()
	tidy.Wait()
	seen := map[string]bool{}
	for text := range strings.Lines(string(whole(t, cfg.Path))) {
		w, rest, _ := strings.Cut(text, " ")
		n, _, ok := strings.Cut(rest, " ")
		if !ok || seen[w+" "+n] {
			t.Fatalf("line %q is torn, or there twice", text)
		}
		seen[w+" "+n] = true
	}
	if len(seen) != writers*each {
		t.Errorf("%d records of %d", len(seen), writers*each)
	}
	if countOld(t, cfg.Path) < 10 {
		t.Error("hardly anything was rotated")
	}
}

func TestOldFilesAreCompressedAndRemoved(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size, cfg.Keep, cfg.KeepFor, cfg.Compress = 2000, 3, 2*time.Hour, true
	f := open(t, cfg)
	last := 0
	for ; countOld(t, cfg.Path) < 5; last += 10 {
		write(t, f, last+1, last+10)
	}
	if err := f.tidyUp(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	names, err := Old(cfg.Path)
	if err != nil || len(names) != 3 || slices.ContainsFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".log") && !strings.HasSuffix(name, ".gz") }) {
		t.Fatalf("old files %q (%v), want 3 that are compressed", names, err)
	}
	if got, want := whole(t, cfg.Path), batch(1, last).Lines; !bytes.HasSuffix(want, got) || len(got) == len(want) {
		t.Errorf("%d bytes are left of %d, and not the last", len(got), len(want))
	}
	if err := f.tidyUp(t.Context(), time.Now().Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := countOld(t, cfg.Path); got != 0 {
		t.Errorf("%d old files after their time, want none", got)
	}
}

func TestAFileThatIsWrittenToIsLeftAlone(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size, cfg.Keep, cfg.Compress = 500, 1, true
	other := open(t, cfg)
	write(t, other, 1, 10)
	f := open(t, cfg)
	write(t, f, 11, 20)
	write(t, f, 21, 30) // two old files now, of which other has the first
	if err := f.tidyUp(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	expect(t, cfg.Path, 30)
	names, err := Old(cfg.Path)
	if err != nil || len(names) != 2 || strings.HasSuffix(names[0], ".gz") || !strings.HasSuffix(names[1], ".gz") {
		t.Errorf("old files %q (%v): want the first as it is, the second compressed", names, err)
	}
	_ = other.Close()
	if err := f.tidyUp(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := countOld(t, cfg.Path); got != 1 {
		t.Errorf("%d old files once nobody has them, want 1", got)
	}
}

func TestNothingIsTakenForAnOldFileThatIsNone(t *testing.T) {
	cfg := testConfig(t)
	dir := filepath.Dir(cfg.Path)
	for _, name := range []string{"access.log.1", "access.log-2026", "access.log-20260101T000000.000Z.gz.tmp", "access.log-20260101T000000.000Z.txt", "other.log-20260101T000000.000Z"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("keep me\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(cfg.Path+"-20260101T000000.001Z", 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.Keep, cfg.Compress = 1, true
	f := open(t, cfg)
	if err := f.tidyUp(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 8 {
		t.Errorf("%d entries are left (%v), want all 7 and the lock", len(entries), err)
	}
}

// TestABatchGoesOnWhereItStopped: a disk was full in the middle of a batch.
func TestABatchGoesOnWhereItStopped(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size = 600
	f := open(t, cfg)
	write(t, f, 1, 4)
	b := batch(5, 9)
	half := len(b.Lines) / 2
	if _, err := f.f.Write(b.Lines[:half]); err != nil { // what a full disk has taken
		t.Fatal(err)
	}
	f.written = half
	if err := f.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := countOld(t, cfg.Path); got != 0 {
		t.Error("a new file was begun inside of a record")
	}
	write(t, f, 10, 12)
	if got := countOld(t, cfg.Path); got != 1 {
		t.Errorf("%d old files after the batch, want 1", got)
	}
	expect(t, cfg.Path, 12)
}

// The process that TestKilledBetweenTheSteps kills, and the step at which it dies.
const childPath, childStep = "SALLYPORT_TEST_FILE", "SALLYPORT_TEST_STEP"

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		child(path, os.Getenv(childStep))
		return
	}
	os.Exit(m.Run())
}

// child writes on from what the file says, until it kills itself at a step.
func child(path, step string) {
	from, err := strconv.Atoi(step[strings.LastIndexByte(step, '@')+1:])
	if err != nil {
		panic(err)
	}
	step, _, _ = strings.Cut(step, "@")
	f, err := Open(Config{Path: path, Size: 3000, Compress: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	f.step = func(name string) {
		if name == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	for n := from; ; n++ {
		if err := f.Write(context.Background(), batch(n, n)); err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintln(os.Stdout, n)
		if n%25 == 0 {
			if err := f.tidyUp(context.Background(), time.Now()); err != nil {
				panic(err)
			}
		}
	}
}

func TestKilledBetweenTheSteps(t *testing.T) {
	cfg := testConfig(t)
	last := 0
	for round := range 2 {
		for _, step := range []string{"reserved", "renamed", "begun", "compressed", "archived"} {
			t.Run(fmt.Sprint(step, " ", round), func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), childPath+"="+cfg.Path, childStep+"="+step+"@"+strconv.Itoa(last+1))
				out, err := cmd.Output()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the process ended with %v", err)
				}
				if said := strings.Fields(string(out)); len(said) > 0 {
					last, _ = strconv.Atoi(said[len(said)-1])
				}
				expect(t, cfg.Path, last)
			})
		}
	}
	cfg.Compress = true
	f := open(t, cfg)
	f.removeUnfinished()
	if err := f.tidyUp(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	expect(t, cfg.Path, last)
	entries, err := os.ReadDir(filepath.Dir(cfg.Path))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := entry.Name(); name != "access.log" && name != ".access.log.lock" && !strings.HasSuffix(name, "Z.gz") {
			t.Errorf("%s is left over", name)
		}
	}
}

func TestCloseEndsWhatStartHasBegun(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size, cfg.Compress = 500, true
	f, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 30; n += 10 {
		write(t, f, n, n+9)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	expect(t, cfg.Path, 30)
}
