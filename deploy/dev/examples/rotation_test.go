package examples

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rotations is how many users follow each other in a short run.
const rotations = 2

// TestCredentialsChangeUnderLoadWithoutAFailedRequest has people write and read notes
// while the application's credentials come to their end and are replaced, again and
// again, and then asks the database who was there.
func TestCredentialsChangeUnderLoadWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	for name, e := range notes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := e.database()
			before := len(d.stays(t, e.users))
			s := runExample(t, &house, name, d.here())
			l := apply(t, s)
			if *long > 0 {
				select {
				case <-time.After(*long):
				case <-s.child.Done():
				}
			} else {
				await(t, "users who follow each other", s.child, func() bool { return used(d.stays(t, e.users)[before:]) >= rotations })
			}
			written, read, failed := l.end()
			if len(failed) > 0 || written < 10 || read < 10 {
				t.Errorf("%d notes written, %d pages read, %d requests failed:\n%s", written, read, len(failed), strings.Join(failed[:min(len(failed), 20)], "\n"))
			}
			if kept := e.count(t); kept < written {
				t.Errorf("%d notes are in the database, and %d were accepted", kept, written)
			}
			if err := s.child.Stop(patience); err != nil {
				t.Error(err)
			}
			stays := d.stays(t, e.users)[before:]
			for _, stay := range stays {
				if len(stay.misplaced) > 0 || !stay.dropped {
					t.Errorf("%s: %q, dropped %v", stay.user, stay.misplaced, stay.dropped)
				}
			}
			t.Logf("%d notes written, %d pages read, none failed; %d users, each there only while its lease lived", written, read, used(stays))
		})
	}
}

// used is how many of the users connected.
func used(stays []*stay) int {
	n := 0
	for _, s := range stays {
		if s.came > 0 {
			n++
		}
	}
	return n
}

// TestNothingFailsWhileVaultIsAwayAndTheLeaseLives stops a Vault of its own under load,
// for most of a lease's life.
func TestNothingFailsWhileVaultIsAwayAndTheLeaseLives(t *testing.T) {
	t.Parallel()
	const life = 20 * time.Second
	h := newHome(t)
	err := errors.Join(h.mariadb.prepare("notes-mariadb", firstPassword), h.script("notes-mariadb",
		"DB_ADDRESS="+h.mariadb.address(), "VAULT_DB_PASSWORD="+firstPassword, "DEFAULT_TTL="+life.String(), "MAX_TTL=5m"))
	if err != nil {
		t.Fatal(err)
	}
	s := runExample(t, h, "notes-mariadb", h.mariadb.here())
	ended := time.After(life)
	l := apply(t, s)
	h.vault.Stop()
	await(t, "the sidecar to notice", s.child, func() bool { return s.says("could not be kept fresh") })
	if status, body := s.ask(t, "/readyz"); status != http.StatusOK || !strings.Contains(body, "first hard stop") {
		t.Errorf("while the lease lives: status %d\n%s", status, body)
	}
	if err := h.vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-ended // but for a renewal the credentials are gone now
	if written, read, failed := l.end(); len(failed) > 0 || written == 0 {
		t.Errorf("%d notes written, %d pages read, %d requests failed:\n%s", written, read, len(failed), strings.Join(failed, "\n"))
	}
}

// newHome is a Vault and a MariaDB that nobody shares.
func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{dir: filepath.Join(shared.dir, t.Name()+"-home")}
	if err := os.Mkdir(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	var err error
	if h.mariadb, err = startMariaDB(h.dir); err != nil {
		t.Fatal(err)
	}
	if err := h.openVault(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// says looks into the sidecar's log.
func (s *sidecar) says(text string) bool { return strings.Contains(s.child.Tail(1000), text) }
