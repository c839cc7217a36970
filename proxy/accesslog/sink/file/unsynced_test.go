package file

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

var errBroken = errors.New("input/output error")

// dropping is a Sync that fails the first so many times and does what the system may do
// then: of what was written behind that many bytes nothing stays, and another sync
// succeeds. No disk that tests can have does that.
func dropping(t *testing.T, path string, from, failures int) func(*os.File) error {
	return func(f *os.File) error {
		if failures == 0 {
			return disk.Sync(f)
		}
		failures--
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return err
		}
		defer w.Close()
		info, err := w.Stat()
		if err == nil {
			_, err = w.WriteAt(make([]byte, int(info.Size())-from), int64(from))
		}
		if err != nil {
			t.Error(err)
		}
		return errBroken
	}
}

// TestWhatASyncHasLostIsWrittenAgain: after a sync that failed another one that succeeds
// counts only if everything is there.
func TestWhatASyncHasLostIsWrittenAgain(t *testing.T) {
	for name, failures := range map[string]int{"once": 1, "again and again": 5} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			f := open(t, cfg)
			write(t, f, 1, 10)
			if err := f.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			synced := len(batch(1, 10).Lines)
			write(t, f, 11, 20)
			f.sync = dropping(t, cfg.Path, synced, failures)
			for range failures {
				if err := f.Sync(t.Context()); !errors.Is(err, errBroken) {
					t.Fatalf("Sync = %v", err)
				}
				write(t, f, 21, 20) // nothing, as the log does between two tries
			}
			if err := f.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			expect(t, cfg.Path, 20)
			write(t, f, 21, 30)
			if err := f.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			expect(t, cfg.Path, 30)
		})
	}
}

// TestEachProcessWritesItsOwnAgain: what others have written between is left to them.
func TestEachProcessWritesItsOwnAgain(t *testing.T) {
	cfg := testConfig(t)
	one, other := open(t, cfg), open(t, cfg)
	for n := 1; n <= 20; n++ {
		write(t, map[bool]*File{true: one, false: other}[n%3 == 0], n, n)
	}
	for _, f := range []*File{one, other} {
		f.sync = dropping(t, cfg.Path, 0, 1)
	}
	for range 2 { // the first fails
		_, _ = one.Sync(t.Context()), other.Sync(t.Context())
	}
	expect(t, cfg.Path, 20)
}

// TestANewFileIsBegunOnlyOverASync: what a rotation leaves behind nobody writes again.
func TestANewFileIsBegunOnlyOverASync(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size = 1000
	f := open(t, cfg)
	write(t, f, 1, 10)
	f.sync = dropping(t, cfg.Path, 0, 1)
	f.step = func(name string) {
		if name == "renamed" {
			f.sync = dropping(t, cfg.Path+"-none", 0, 0) // the path has another name now
		}
	}
	if err := f.Sync(t.Context()); !errors.Is(err, errBroken) {
		t.Fatalf("Sync = %v", err)
	}
	write(t, f, 11, 20) // begins one
	if err := f.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := countOld(t, cfg.Path); n != 1 {
		t.Errorf("%d old files, want 1", n)
	}
	expect(t, cfg.Path, 20)
}

func TestWhatIsKeptUnsyncedIsBounded(t *testing.T) {
	cfg := testConfig(t)
	f := open(t, cfg)
	syncs := 0
	f.sync = func(f *os.File) error { syncs++; return disk.Sync(f) }
	for n := 1; n <= 100_000; n += 1000 {
		write(t, f, n, n+999)
		if len(f.text) > mostUnsynced+1<<20 {
			t.Fatalf("%d bytes are kept", len(f.text))
		}
	}
	if syncs == 0 {
		t.Error("nothing was synced")
	}
	expect(t, cfg.Path, 100_000)
	cfg.Path, cfg.NeverSynced = filepath.Join(t.TempDir(), "access.log"), true
	f = open(t, cfg)
	if write(t, f, 1, 1000); len(f.text) > 0 {
		t.Errorf("%d bytes are kept for nobody", len(f.text))
	}
}

// TestNoLinkIsFollowed: whoever may write beside the log cannot have it write elsewhere.
func TestNoLinkIsFollowed(t *testing.T) {
	cfg := testConfig(t)
	cfg.Compress = true
	precious := filepath.Join(t.TempDir(), "precious")
	if err := errors.Join(os.WriteFile(precious, []byte("precious"), 0o600), os.Symlink(precious, cfg.Path)); err != nil {
		t.Fatal(err)
	}
	if f, err := Open(cfg); err == nil {
		_ = f.Close()
		t.Error("the log is opened through a link")
	}
	if err := os.Remove(cfg.Path); err != nil {
		t.Fatal(err)
	}
	f := open(t, cfg)
	write(t, f, 1, 10)
	old := cfg.Path + "-20260101T000000.000Z"
	if err := errors.Join(os.Rename(cfg.Path, old), os.Symlink(precious, old+compressed+unfinished)); err != nil {
		t.Fatal(err)
	}
	write(t, f, 11, 20)
	if err := f.compress(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	expect(t, cfg.Path, 20)
	if got, err := os.ReadFile(precious); err != nil || !bytes.Equal(got, []byte("precious")) {
		t.Errorf("what a link leads to is %q (%v)", got, err)
	}
	if err := errors.Join(os.Remove(cfg.Path), os.Symlink(precious, cfg.Path)); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(t.Context(), batch(21, 22)); err == nil {
		t.Error("it is written through a link")
	}
}
