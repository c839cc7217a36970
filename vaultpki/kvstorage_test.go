package vaultpki_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki"
)

// freshPath is where nothing is yet, however often the tests are run.
func freshPath() string { return "suite/" + rand.Text() }

// storages are the implementations that the suite is run against.
func storages(t *testing.T) map[string]certmagic.Storage {
	t.Helper()
	client := operator(t, vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile})
	path := freshPath()
	return map[string]certmagic.Storage{"memory": vaultpki.NewMemoryStorage(), "vault": vaultpki.NewKVStorage(client, "secret", path)}
}

func TestStoragesKeepWhatTheyAreGiven(t *testing.T) {
	for name, s := range storages(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			keys := []string{
				"acme/acme.example.com-dir/users/me@example.com/me.json", "certs/a/a.crt", "certs/a/a.key", "certs/b/b.crt",
				"certsx/c", "odd/.hidden", "odd/a b=c%2f", "odd/a..b", "odd/ä", "top",
			}
			for _, key := range keys {
				for _, value := range []string{"old", "value\x00 of " + key} {
					if err := s.Store(ctx, key, []byte(value)); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, key := range keys {
				got, err := s.Load(ctx, key)
				if err != nil || string(got) != "value\x00 of "+key {
					t.Errorf("Load(%s) = %q, %v", key, got, err)
				}
				info, err := s.Stat(ctx, key)
				if err != nil || info.Key != key || info.Size != int64(len(got)) || !info.IsTerminal || time.Since(info.Modified).Abs() > time.Minute {
					t.Errorf("Stat(%s) = %+v, %v", key, info, err)
				}
			}
			checkListing(t, s, keys)
			for key, want := range map[string]bool{"top": true, "certs": true, "certs/a": true, "cert": false, "certs/a/a": false, "nope": false} {
				if s.Exists(ctx, key) != want {
					t.Errorf("Exists(%s) = %t", key, !want)
				}
			}
			for _, key := range []string{"certs", "certs", "never there", "acme", "odd"} {
				if err := s.Delete(ctx, key); err != nil {
					t.Errorf("Delete(%s): %v", key, err)
				}
			}
			left, err := s.List(ctx, "", true)
			if diff := cmp.Diff([]string{"certsx/c", "top"}, left); diff != "" || err != nil {
				t.Errorf("left %v (-want +got):\n%s", err, diff)
			}
			_, load := s.Load(ctx, "certs/a/a.key")
			_, list := s.List(ctx, "certs", true)
			_, stat := s.Stat(ctx, "certs")
			for call, err := range map[string]error{"Load": load, "List": list, "Stat": stat} {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s of what was deleted: %v, expected fs.ErrNotExist", call, err)
				}
			}
		})
	}
}

func checkListing(t *testing.T, s certmagic.Storage, keys []string) {
	t.Helper()
	for name, test := range map[string]struct {
		path      string
		recursive bool
		want      []string
	}{
		"next level":   {"certs", false, []string{"certs/a", "certs/b"}},
		"all below":    {"certs", true, []string{"certs/a/a.crt", "certs/a/a.key", "certs/b/b.crt"}},
		"with a slash": {"certs/", false, []string{"certs/a", "certs/b"}},
		"everything":   {"", true, keys},
	} {
		got, err := s.List(t.Context(), test.path, test.recursive)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestStoragesLockOneAtATime(t *testing.T) {
	for name, s := range storages(t) {
		t.Run(name, func(t *testing.T) {
			var holders, most atomic.Int64
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					if err := s.Lock(t.Context(), "issue_cert_door.example.com"); err != nil {
						t.Error(err)
						return
					}
					most.Store(max(most.Load(), holders.Add(1)))
					_, _ = s.List(t.Context(), "", true) // takes a moment
					holders.Add(-1)
					if err := s.Unlock(t.Context(), "issue_cert_door.example.com"); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			if most.Load() != 1 {
				t.Errorf("%d held the lock at once", most.Load())
			}
			if err := s.Unlock(t.Context(), "issue_cert_door.example.com"); err == nil {
				t.Error("a lock that is not held was unlocked")
			}
			if err := s.Lock(t.Context(), "held"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Lock(ctx, "held"); !errors.Is(err, context.Canceled) {
				t.Errorf("Lock of a held lock: %v, expected context.Canceled", err)
			}
		})
	}
}

// lockOf writes a lock as another process would.
func lockOf(t *testing.T, path, lock string, data map[string]any) {
	t.Helper()
	write(t, "secret/data/"+path+"/locks/"+lock, map[string]any{"data": data})
}

func TestLocksInVaultOutliveNoHolder(t *testing.T) {
	client := operator(t, vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile})
	path := freshPath()
	s := vaultpki.NewKVStorage(client, "secret", path)
	past, future := time.Now().Add(-time.Second).UTC().Format(time.RFC3339), time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	for lock, data := range map[string]map[string]any{
		"expired": {"owner": "other", "until": past}, "released": {"owner": "", "until": future}, "garbage": {"owner": 7, "until": "soon"}, "empty": {},
	} {
		lockOf(t, path, lock, data)
		if err := s.Lock(t.Context(), lock); err != nil {
			t.Errorf("%s: %v", lock, err)
		}
	}
	if err := vault.Call(t.Context(), "DELETE", "secret/data/"+path+"/locks/expired", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := vaultpki.NewKVStorage(client, "secret", path).Lock(t.Context(), "expired"); err != nil {
		t.Errorf("a lock that was deleted: %v", err)
	}
	if err := s.Unlock(t.Context(), "expired"); err == nil {
		t.Error("a lock that another took over was unlocked")
	}
}

// TestLockForEverIsTakenOver: whoever may write below the path must not be able to
// stop every order with one lock.
func TestLockForEverIsTakenOver(t *testing.T) {
	front := newStandIn(t)
	client := operator(t, vaultpki.Server{Address: front.URL, CAFile: front.CAFile})
	path := freshPath()
	lockOf(t, path, "order", map[string]any{"owner": "nobody", "until": "9999-01-01T00:00:00Z"})
	front.on("secret/data/"+path+"/locks/order", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		created := time.Now().Add(-6 * time.Minute).UTC().Format(time.RFC3339Nano) // a wait that no test can have
		answer(http.StatusOK, fmt.Sprintf(`{"data":{"data":{"owner":"nobody","until":"9999-01-01T00:00:00Z"},"metadata":{"version":1,"created_time":%q}}}`, created))(w, r, next)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := vaultpki.NewKVStorage(client, "secret", path).Lock(ctx, "order"); err != nil {
		t.Error(err)
	}
}

func TestFolderWithinItselfIsRefused(t *testing.T) {
	client := operator(t, vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile})
	path := freshPath()
	write(t, "secret/data/"+path+"/a/=2f/x", map[string]any{"data": map[string]any{"value": "eA=="}})
	keys, err := vaultpki.NewKVStorage(client, "secret", path).List(t.Context(), "a", true)
	if err == nil || !strings.Contains(err.Error(), `"=2f"`) {
		t.Errorf("%d keys, %.300v; expected a refusal of the name", len(keys), err)
	}
}

func TestReplacedKeysAreGoneFromVault(t *testing.T) {
	client := operator(t, vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile})
	path := freshPath()
	s := vaultpki.NewKVStorage(client, "secret", path)
	for _, value := range []string{"first key", "second key"} {
		if err := s.Store(t.Context(), "a.key", []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := vault.Call(t.Context(), "GET", "secret/data/"+path+"/a.key?version=1", nil, nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("the first version: %v, expected it to be gone", err)
	}
}

func TestStorageErrorsShowNoValue(t *testing.T) {
	front := newStandIn(t)
	client := operator(t, vaultpki.Server{Address: front.URL, CAFile: front.CAFile})
	s := vaultpki.NewKVStorage(client, "secret", "suite/faults")
	value := []byte("a private key that nobody shall see")
	for name, fault := range map[string]fault{
		"echo":   answer(500, `{"errors":["cannot write `+base64.StdEncoding.EncodeToString(value)+`"]}`),
		"lost":   dropAfter,
		"denied": answer(403, `{"errors":["permission denied"]}`),
	} {
		front.on("secret/data/suite/faults/x", fault)
		err := s.Store(t.Context(), "x", value)
		if err == nil || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(value)) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: Store: %v", name, err)
		}
	}
	for name, fault := range map[string]fault{
		"no base64": answer(200, `{"data":{"data":{"value":"%"},"metadata":{"version":1,"created_time":"2026-11-25T12:00:00Z"}}}`),
		"no data":   answer(200, `{"data":{}}`),
		"empty":     answer(200, ``),
		"denied":    answer(403, `{"errors":["permission denied"]}`),
	} {
		front.on("secret/data/suite/faults/x", fault)
		if value, err := s.Load(t.Context(), "x"); err == nil || (name != "empty" && errors.Is(err, fs.ErrNotExist)) {
			t.Errorf("%s: Load: %q, %v", name, value, err)
		}
	}
}
