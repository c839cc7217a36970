//go:build swarm

package swarm

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	// databaseUser is whom PostgreSQL runs as, which it does not as root.
	databaseUser = 65534
	// administrator is PostgreSQL's, of a server that lives for one run.
	administrator = "postgresql://postgres:first-password@" + address + "/"
)

// startPostgreSQL starts a server for the containers. Its files are in memory, and go with
// the namespace, also those that other servers have in /dev/shm.
func (s *stand) startPostgreSQL(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		t.Fatal("no PostgreSQL: run `make swarm` as root")
	}
	bin, home := found[len(found)-1], "/run/database"
	mkdir(t, home)
	for name, text := range map[string]string{"password": "first-password\n", "hba.conf": "host all all all scram-sha-256\n"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, databaseUser, databaseUser); err != nil {
		t.Fatal(err)
	}
	id := strconv.Itoa(databaseUser)
	as := []string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--"}
	s.run(t, as[0], append(as[1:], filepath.Join(bin, "initdb"), "--pgdata="+home+"/data", "--no-sync", "--auth=scram-sha-256", "--username=postgres",
		"--pwfile="+home+"/password", "--wal-segsize=1", "--encoding=UTF8", "--locale=C")...)
	args := append(as, filepath.Join(bin, "postgres"), "-D", home+"/data", "-k", home, "-h", address)
	for _, setting := range []string{"hba_file=" + home + "/hba.conf", "fsync=off", "shared_buffers=16MB", "dynamic_shared_memory_type=mmap", "log_connections=on", "log_statement=ddl"} {
		args = append(args, "-c", setting)
	}
	background(t, "postgresql", args...)
	eventually(t, "PostgreSQL answers", func() error {
		_, _, err := s.try("psql", "--command", "SELECT 1", administrator+"postgres")
		return err
	})
}

// query asks a database as its administrator, and returns the rows.
func (s *stand) query(t *testing.T, database, statement string) []string {
	t.Helper()
	return strings.Fields(s.run(t, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", statement, administrator+database))
}

// databasePlugin is what Vault runs for PostgreSQL, which its minimal build is without.
func databasePlugin(t *testing.T) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(filepath.Join(root, ".build", "vault-plugin-database-postgresql"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// registerPlugin lets Vault run it.
func (s *stand) registerPlugin(t *testing.T) {
	t.Helper()
	path := databasePlugin(t)
	s.mustVault(t, "PUT", "sys/plugins/catalog/database/postgresql-database-plugin", map[string]string{
		"sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(read(t, path)))), "command": filepath.Base(path),
	}, nil)
}
