package spool

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

var errBroken = errors.New("input/output error")

// dropping is a Sync that fails at some of its calls, counted from 1, and leaves nothing
// of what was written since the last that succeeded, as the system may do.
func dropping(t *testing.T, failing ...int) func(*os.File) error {
	calls, synced := 0, map[string][]byte{}
	return func(f *os.File) error {
		calls++
		for _, n := range failing {
			if n != calls {
				continue
			}
			if err := errors.Join(f.Truncate(0), os.WriteFile(f.Name(), synced[f.Name()], 0o600)); err != nil {
				t.Error(err)
			}
			return errBroken
		}
		if err := disk.Sync(f); err != nil {
			return err
		}
		text, err := os.ReadFile(f.Name())
		synced[f.Name()] = text
		return err
	}
}

// TestWhatASyncHasLostIsAppendedAgain: whichever sync fails, of a new part or of an entry,
// what is appended again afterwards is in the spool of the next process.
func TestWhatASyncHasLostIsAppendedAgain(t *testing.T) {
	for failing := 1; failing <= 4; failing++ {
		cfg := testConfig(t, t.TempDir())
		s := open(t, cfg)
		s.sync = dropping(t, failing)
		failures := 0
		for n := 1; n <= 3; {
			if err := s.Append(Entry{Lines: lines(n, n), Instance: "a", Last: uint64(n)}); err != nil {
				if failures++; !errors.Is(err, errBroken) || s.Err() == nil {
					t.Fatalf("Append = %v, Err = %v", err, s.Err())
				}
				continue
			}
			n++
		}
		if failures != 1 {
			t.Errorf("%d failures, want one", failures)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		expect(t, drain(t, open(t, cfg), 1<<20, false), 1, 3)
	}
}

// TestTakingOverSaysNothingOfThisProcess: what others have left does not set back how far
// this process's own log is, and leaves it half of the room.
func TestTakingOverSaysNothingOfThisProcess(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	cfg.Size = 2 << 20
	first, second := open(t, cfg), open(t, cfg)
	last := 0
	for ; first.Err() == nil; last += 100 {
		add(t, first, last+1, last+100)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	own := Head{Instance: "b", Last: 7}
	if err := second.Append(Entry{Lines: lines(1, 1), Instance: own.Instance, Last: own.Last}); err != nil {
		t.Fatal(err)
	}
	if err := second.Adopt(t.Context()); !errors.Is(err, ErrFull) {
		t.Fatalf("Adopt = %v, want that the spool is full", err)
	}
	if second.bytes > cfg.Size/2 || second.Err() != nil {
		t.Errorf("%d bytes of %d are in use; Err = %v", second.bytes, cfg.Size, second.Err())
	}
	if head := second.Head(); head != own {
		t.Errorf("head %+v, want %+v", head, own)
	}
	got := drain(t, second, 1<<20, true)[len(line(1)):]
	if err := second.Adopt(t.Context()); err != nil && !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	got = append(got, drain(t, second, 1<<20, true)...)
	if err := second.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, append(got, drain(t, second, 1<<20, true)...), 1, last)
}

func TestNoLinkIsFollowed(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := slotName(cfg.Directory, 0)
	first := segment{number: 1}.name(folder)
	if err := errors.Join(os.MkdirAll(folder, 0o700), os.Symlink(precious, first)); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(cfg); err == nil {
		_ = s.Close()
		t.Error("a part is opened through a link")
	}
	ledger := filepath.Join(folder, "acknowledged")
	if err := errors.Join(os.Remove(first), os.Remove(ledger), os.Symlink(precious, ledger)); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(cfg); err == nil {
		_ = s.Close()
		t.Error("the ledger is opened through a link")
	}
	if got, err := os.ReadFile(precious); err != nil || string(got) != "precious" {
		t.Errorf("what a link leads to is %q (%v)", got, err)
	}
}
