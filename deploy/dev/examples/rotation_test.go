package examples

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rotations is how many users follow each other in a short run.
const rotations = 3

// TestCredentialsChangeUnderLoadWithoutAFailedRequest has people write and read notes
// while the application's credentials come to their end and are replaced, again and
// again, and then asks the database who was there.
func TestCredentialsChangeUnderLoadWithoutAFailedRequest(t *testing.T) {
	for name, e := range notes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := e.database()
			before := len(d.stays(t, e.users))
			s := runExample(t, name, e.at())
			l := apply(t, s)
			if *long > 0 {
				select {
				case <-time.After(*long):
				case <-s.child.Done():
				}
			} else {
				await(t, fmt.Sprintf("%d users, one after the other", rotations), s.child, func() bool { return used(d.stays(t, e.users)[before:]) >= rotations })
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

// TestNothingFailsWhileVaultIsAwayAndTheLeaseLives stops Vault under load for most of a
// lease's life.
func TestNothingFailsWhileVaultIsAwayAndTheLeaseLives(t *testing.T) {
	const life = 15 * time.Second
	e := notes["notes-mariadb"]
	e.live(t, life.String(), "5m")
	s := runExample(t, "notes-mariadb", e.at())
	ended := time.After(life)
	l := apply(t, s)
	house.vault.Stop()
	await(t, "the sidecar to notice", s.child, func() bool { return strings.Contains(s.child.Tail(60), "could not be kept fresh") })
	if status, body := s.ask(t, "/readyz"); status != http.StatusOK {
		t.Errorf("while the lease lives: status %d\n%s", status, body)
	}
	if err := house.vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-ended // but for a renewal the credentials are gone now
	if written, read, failed := l.end(); len(failed) > 0 || written == 0 {
		t.Errorf("%d notes written, %d pages read, %d requests failed:\n%s", written, read, len(failed), strings.Join(failed, "\n"))
	}
	if user, password := credentials(t, e.creds); user == "" || password == "" {
		t.Error("no credentials from a Vault that was restarted")
	}
}

// TestARevokedLeaseIsReplaced has an operator take the credentials away, as after a
// break-in: the application gets others without anybody's doing.
func TestARevokedLeaseIsReplaced(t *testing.T) {
	e := notes["notes-postgresql"]
	d := e.database()
	e.live(t, "6s", "5m")
	before := len(d.stays(t, e.users))
	s := runExample(t, "notes-postgresql", e.at())
	call(t, "PUT", "sys/leases/revoke-prefix/"+e.creds, nil)
	await(t, "another user", s.child, func() bool { return used(d.stays(t, e.users)[before:]) > 1 })
	if stays := d.stays(t, e.users)[before:]; !stays[0].dropped {
		t.Errorf("the revoked user %s is still there", stays[0].user)
	}
	if tail := s.child.Tail(60); !strings.Contains(tail, "is gone before its time") {
		t.Errorf("the sidecar does not say that a lease was revoked:\n%s", tail)
	}
	if err := s.child.Stop(patience); err != nil {
		t.Error(err)
	}
}
