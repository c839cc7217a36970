package examples

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/process"
)

// A database is a server of Debian's on loopback, with an administrator who may do
// everything, and a log of who came and of who was made and dropped.
type database struct {
	dir         string
	port        string
	log         string // the file that the server writes
	admin       string // the administrator's password; MariaDB's has none, on a socket of his own
	child       *process.Child
	bin, socket string                                                  // where its programs are, PostgreSQL's; where it listens besides, MariaDB's
	run         func(statements string, args ...string) ([]byte, error) // as the administrator
}

func (d *database) address() string { return net.JoinHostPort("127.0.0.1", d.port) }

// stop ends the server. PostgreSQL would wait for who is connected, if it were asked
// by the usual signal.
func (d *database) stop() error {
	if d == nil || d.child == nil {
		return nil
	}
	if d.bin != "" {
		syscall.Kill(d.child.PID(), syscall.SIGINT) //nolint:errcheck // one that has ended is what is wanted
		<-d.child.Done()
		return nil
	}
	return d.child.Stop(patience)
}

// startMariaDB makes a MariaDB whose general log has every connection and statement.
// None of it is meant to survive: nothing is flushed to a disk.
func startMariaDB(dir string) (*database, error) {
	d, err := newDatabase(filepath.Join(dir, "mariadb"))
	if err != nil {
		return nil, err
	}
	data := filepath.Join(d.dir, "data")
	d.socket = filepath.Join(d.dir, "s")
	cheap := []string{
		"--no-defaults", "--datadir=" + data, "--tmpdir=" + d.dir, "--innodb-log-file-size=4M", "--innodb-data-file-path=ibdata1:4M:autoextend",
		"--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M",
	}
	args := append([]string{cheap[0], "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"}, cheap[1:]...)
	if out, err := once(environment(), nil, "mariadb-install-db", args...); err != nil {
		return nil, fmt.Errorf("making MariaDB's files: %w\n%s", err, out)
	}
	d.log = filepath.Join(d.dir, "general.log")
	d.child, err = start("mariadb", d.dir, environment(), "mariadbd", append(cheap,
		"--socket="+d.socket, "--port="+d.port, "--bind-address=127.0.0.1", "--skip-name-resolve", "--general-log", "--general-log-file="+d.log)...)
	if err != nil {
		return nil, err
	}
	d.run = func(statements string, args ...string) ([]byte, error) {
		args = append([]string{"--no-defaults", "--socket=" + d.socket, "--user=root", "--batch", "--skip-column-names"}, args...)
		return once(environment(), []byte(statements), "mariadb", args...)
	}
	return d, d.await()
}

// startPostgreSQL makes a PostgreSQL that logs connections and what is done to users.
func startPostgreSQL(dir string) (*database, error) {
	d, err := newDatabase(filepath.Join(dir, "postgresql"))
	if err != nil {
		return nil, err
	}
	if d.bin, err = postgresFolder(); err != nil {
		return nil, err
	}
	d.admin = "the-first-password"
	file, data := filepath.Join(d.dir, "password"), filepath.Join(d.dir, "data")
	if err := errors.Join(os.WriteFile(file, []byte(d.admin+"\n"), 0o600), give(file)); err != nil {
		return nil, err
	}
	out, err := once(environment(), nil, filepath.Join(d.bin, "initdb"), "--pgdata="+data, "--no-sync", "--auth=scram-sha-256", "--username=postgres",
		"--pwfile="+file, "--wal-segsize=1", "--encoding=UTF8", "--locale=C")
	if err != nil {
		return nil, fmt.Errorf("making PostgreSQL's files: %w\n%s", err, out)
	}
	args := []string{"-D", data, "-k", "", "-p", d.port, "-h", "127.0.0.1"}
	for _, setting := range []string{
		"fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "log_connections=on", "log_disconnections=on", "log_statement=ddl", "log_line_prefix=%m [%p] %q%u ",
	} {
		args = append(args, "-c", setting)
	}
	if d.child, err = start("postgresql", d.dir, environment(), filepath.Join(d.bin, "postgres"), args...); err != nil {
		return nil, err
	}
	d.log = d.child.Log()
	d.run = func(statements string, args ...string) ([]byte, error) {
		args = slices.Concat(psql, []string{"--host=127.0.0.1", "--port=" + d.port, "--username=postgres"}, args)
		return once(environment("PGPASSWORD="+d.admin), []byte(statements), filepath.Join(d.bin, "psql"), args...)
	}
	return d, d.await()
}

// psql are the arguments with which its program stops at the first error, and says no
// more than it must.
var psql = []string{"--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"}

// over signs in to MariaDB by one of its two ways.
func (d *database) over(user, password string, way ...string) (string, error) {
	out, err := once(environment("MYSQL_PWD="+password), []byte("SELECT 1;"), "mariadb", append([]string{"--no-defaults", "--user=" + user}, way...)...)
	return string(out), err
}

// newDatabase finds a place for one.
func newDatabase(dir string) (*database, error) {
	dir, err := own(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return &database{dir: dir, port: port}, err
}

// postgresFolder is where Debian keeps the server's programs, below its version.
func postgresFolder() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("no PostgreSQL: run `make packages` as root")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// await waits until the administrator is let in.
func (d *database) await() error {
	for deadline := time.Now().Add(patience); ; {
		out, err := d.run("SELECT 1;")
		if err == nil {
			return nil
		}
		select {
		case <-d.child.Done():
			return fmt.Errorf("%s has ended: %s\n%s", d.child.Name(), d.child.Ending(), d.child.Tail(20))
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for %s: %w: %s\n%s", d.child.Name(), err, out, d.child.Tail(20))
		}
	}
}

// prepare has the administrator run an example's database.sql.
func (d *database) prepare(example, password string, args ...string) error {
	statements, err := os.ReadFile(filepath.Join(examples, example, "database.sql"))
	if err != nil {
		return err
	}
	text := strings.NewReplacer("@HOST@", "%", "@PASSWORD@", password).Replace(string(statements))
	if out, err := d.run(text, args...); err != nil {
		return fmt.Errorf("running database.sql of %s: %w\n%s", example, err, out)
	}
	return nil
}

// onceAsUs runs a program to its end as who runs the tests.
func onceAsUs(env []string, stdin []byte, path string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Stdin = env, bytes.NewReader(stdin)
	return cmd.CombinedOutput()
}
