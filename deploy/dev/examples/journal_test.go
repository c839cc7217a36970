package examples

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// A stay is what a database has logged of one user that Vault made for a sidecar, in the
// order of the log.
type stay struct {
	user      string
	came      int  // connections
	dropped   bool // by Vault, at the end of the lease
	here      int  // connections that are open, where the log says so
	misplaced []string
}

// said are the lines of the databases' logs that tell of users; the group is the user.
// Both servers are told to log this much for these tests, and the general log of the one
// and the statements of the other are not for a server in use: they have what people do.
var said = map[string]*regexp.Regexp{
	"created": regexp.MustCompile(`(?:Query|Execute)\tCREATE USER '(v-approle-[^']+)'|(?:statement|execute [^:]*): CREATE ROLE "(v-approle-[^"]+)"`),
	"dropped": regexp.MustCompile(`(?:Query|Execute)\tDROP USER IF EXISTS '(v-approle-[^']+)'|(?:statement|execute [^:]*): DROP ROLE IF EXISTS "(v-approle-[^"]+)"`),
	"came":    regexp.MustCompile(`Connect\t(v-approle-[^@]+)@\S+ on \S|connection authorized: user=(v-approle-\S+)`),
	"left":    regexp.MustCompile(`disconnection: .* user=(v-approle-\S+)`),
	"refused": regexp.MustCompile(`Access denied for user '(v-approle-[^']+)'|authentication failed for user "(v-approle-[^"]+)"`),
}

// stays reads a database's log.
func (d *database) stays(t *testing.T, prefix string) []*stay {
	t.Helper()
	raw, err := os.ReadFile(d.log)
	if err != nil {
		t.Fatal(err)
	}
	var all []*stay
	known := map[string]*stay{}
	for line := range strings.Lines(string(raw)) {
		for what, pattern := range said {
			found := pattern.FindStringSubmatch(line)
			if found == nil {
				continue
			}
			user := found[1] + strings.Join(found[2:], "")
			if !strings.HasPrefix(user, prefix) {
				continue
			}
			if known[user] == nil {
				known[user] = &stay{user: user}
				all = append(all, known[user])
				if what != "created" {
					known[user].misplaced = append(known[user].misplaced, what+" before it was created")
				}
			}
			known[user].took(what, d.bin != "")
		}
	}
	return all
}

// took has a user do something. PostgreSQL's log has departures, too.
func (s *stay) took(what string, departs bool) {
	switch {
	case what == "refused":
		s.misplaced = append(s.misplaced, "refused")
	case what == "dropped":
		if s.here > 0 {
			s.misplaced = append(s.misplaced, fmt.Sprintf("dropped with %d connections", s.here))
		}
		s.dropped = true
	case s.dropped && what == "came":
		s.misplaced = append(s.misplaced, what+" after it was dropped")
	case what == "came":
		s.came++
		if departs {
			s.here++
		}
	case what == "left":
		s.here--
	}
}
