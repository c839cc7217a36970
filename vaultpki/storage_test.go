package vaultpki

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

func filled(t *testing.T) *memory {
	t.Helper()
	m := newMemory()
	for _, key := range []string{"certs/a/a.crt", "certs/a/a.key", "certs/b/b.crt", "certsx/c", "top"} {
		if err := m.Store(t.Context(), key, []byte("value of "+key)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestMemoryKeepsWhatItIsGiven(t *testing.T) {
	var _ certmagic.Storage = (*memory)(nil)
	m, ctx := filled(t), t.Context()
	value := []byte("mine")
	if err := m.Store(ctx, "top", value); err != nil {
		t.Fatal(err)
	}
	value[0] = 'x'
	got, err := m.Load(ctx, "top")
	if err != nil || string(got) != "mine" {
		t.Errorf("Load = %q, %v; the caller's slice must not be kept", got, err)
	}
	got[0] = 'y'
	if again, _ := m.Load(ctx, "top"); string(again) != "mine" {
		t.Errorf("Load = %q; the stored slice must not be given away", again)
	}
	info, err := m.Stat(ctx, "top")
	if err != nil || info.Key != "top" || info.Size != 4 || !info.IsTerminal || info.Modified.IsZero() {
		t.Errorf("Stat = %+v, %v", info, err)
	}
	if folder, err := m.Stat(ctx, "certs/a"); err != nil || folder.IsTerminal {
		t.Errorf("Stat of a folder = %+v, %v", folder, err)
	}
	for key, want := range map[string]bool{"top": true, "certs": true, "certs/a": true, "cert": false, "certs/a/a": false, "nope": false} {
		if m.Exists(ctx, key) != want {
			t.Errorf("Exists(%s) = %t", key, !want)
		}
	}
}

func TestMemoryListsLikeFolders(t *testing.T) {
	m := filled(t)
	tests := map[string]struct {
		path      string
		recursive bool
		want      []string
	}{
		"next level":       {"certs", false, []string{"certs/a", "certs/b"}},
		"all below":        {"certs", true, []string{"certs/a/a.crt", "certs/a/a.key", "certs/b/b.crt"}},
		"with a slash":     {"certs/", false, []string{"certs/a", "certs/b"}},
		"files":            {"certs/a", false, []string{"certs/a/a.crt", "certs/a/a.key"}},
		"everything":       {"", false, []string{"certs", "certsx", "top"}},
		"not a whole name": {"cert", true, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := m.List(t.Context(), test.path, test.recursive)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (test.want == nil) != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestMemoryDeletesFolders(t *testing.T) {
	m, ctx := filled(t), t.Context()
	for _, key := range []string{"certs", "certs", "never there"} {
		if err := m.Delete(ctx, key); err != nil {
			t.Errorf("Delete(%s): %v", key, err)
		}
	}
	left, err := m.List(ctx, "", true)
	if diff := cmp.Diff([]string{"certsx/c", "top"}, left); diff != "" || err != nil {
		t.Errorf("left %v (-want +got):\n%s", err, diff)
	}
	if _, err := m.Load(ctx, "certs/a/a.key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of a deleted key: %v, expected fs.ErrNotExist", err)
	}
}

// FuzzSegment: every segment of a key comes back as it was, by way of what is one
// segment of a Vault path; and whatever Vault lists is a segment or an error.
func FuzzSegment(f *testing.F) {
	for _, seed := range []string{"a.crt", "me@example.com", "..", ".hidden", "a..b", "=2", "%2f", "a/b", "ä"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, segment string) {
		if read, err := unescapeSegment(segment); err == nil && (escapeSegment(read) != segment || strings.Contains(read, "/")) {
			t.Errorf("%q is read as %q", segment, read)
		}
		if segment == "" || strings.Contains(segment, "/") { // no key has such a segment
			return
		}
		escaped := escapeSegment(segment)
		if err := wire.CheckName(escaped); err != nil {
			t.Errorf("%q is escaped as %q: %v", segment, escaped, err)
		}
		if back, err := unescapeSegment(escaped); err != nil || back != segment {
			t.Errorf("%q comes back as %q, %v", segment, back, err)
		}
	})
}

func TestMemoryHonoursCancellation(t *testing.T) {
	m := filled(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, load := m.Load(ctx, "top")
	_, list := m.List(ctx, "", true)
	_, stat := m.Stat(ctx, "top")
	for name, err := range map[string]error{"Store": m.Store(ctx, "x", nil), "Load": load, "List": list, "Stat": stat, "Delete": m.Delete(ctx, "top")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, expected context.Canceled", name, err)
		}
	}
	if err := m.Lock(t.Context(), "held"); err != nil {
		t.Fatal(err)
	}
	if err := m.Lock(ctx, "held"); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock of a held lock: %v, expected context.Canceled", err)
	}
}

func TestMemoryLockIsHeldByOne(t *testing.T) {
	m, ctx := newMemory(), t.Context()
	var holders, most atomic.Int64
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 50 {
				if err := m.Lock(ctx, "one"); err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n > most.Load() {
					most.Store(n)
				}
				holders.Add(-1)
				if err := m.Unlock(ctx, "one"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if most.Load() != 1 {
		t.Errorf("%d held the lock at once", most.Load())
	}
	if err := m.Unlock(ctx, "one"); err == nil {
		t.Error("a lock that is not held was unlocked")
	}
}

func TestNamesInVaultHaveOneForm(t *testing.T) {
	for escaped, want := range map[string]string{
		"a.key": "a.key", "=2ehidden": ".hidden", "a=2f": "", "=2f": "", "": "", "=61": "", "=2E": "", "a=2e.": "", ".a": "", "..": "", "a=": "", "=zz": "", "=+1": "",
	} {
		segment, err := unescapeSegment(escaped)
		if segment != want || (err == nil) != (want != "") {
			t.Errorf("%q is read as %q, %v; expected %q", escaped, segment, err, want)
		}
	}
}

func TestLocksInVaultEnd(t *testing.T) {
	taken := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		until, created string
		want           time.Time // zero for a lock that nobody holds
	}{
		"as it is taken":   {"2026-11-25T12:05:00Z", "2026-11-25T12:00:00.000000001Z", taken.Add(lockLife)},
		"sooner":           {"2026-11-25T12:01:00Z", "2026-11-25T12:00:00Z", taken.Add(time.Minute)},
		"for ever":         {"9999-01-01T00:00:00Z", "2026-11-25T12:00:00Z", taken.Add(lockLife)},
		"nobody knows":     {"soon", "2026-11-25T12:00:00Z", time.Time{}},
		"taken at no time": {"9999-01-01T00:00:00Z", "", time.Time{}},
	} {
		state := lockOf(&api.Secret{Data: map[string]any{
			"data":     map[string]any{"owner": "other", "until": test.until},
			"metadata": map[string]any{"version": json.Number("7"), "created_time": test.created},
		}})
		if held := !test.want.IsZero(); (state.owner != "") != held || state.version != 7 || held && !state.until.Equal(test.want) {
			t.Errorf("%s: %+v, expected until %s", name, state, test.want)
		}
	}
}
