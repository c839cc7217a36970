package examples

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// notes are the two notes applications.
var notes = map[string]*notesExample{
	"notes-mariadb": {
		creds: "database/creds/notes", users: "v-approle-notes-",
		denied: "Access denied", forbidden: "denied",
		database: func() *database { return house.mariadb },
	},
	"notes-postgresql": {
		creds: "postgresql/creds/notes", users: "v-approle-notes-",
		denied: "password authentication failed", forbidden: "permission denied",
		database: func() *database { return house.postgres },
	},
}

// notesExample is what differs between them.
type notesExample struct {
	creds     string // path of the dynamic credentials
	users     string // how those begin that Vault makes for the sidecar
	denied    string // what the database says to a wrong password
	forbidden string // and to who may not do what he asks
	database  func() *database
}

// as runs a statement as somebody, in the example's database.
func (e *notesExample) as(user, password, statement string) (string, error) {
	d := e.database()
	var out []byte
	var err error
	if d.bin == "" {
		out, err = once(environment("MYSQL_PWD="+password), []byte(statement), "mariadb",
			"--no-defaults", "--host=127.0.0.1", "--port="+d.port, "--user="+user, "--batch", "--skip-column-names", "notes_webapp")
	} else {
		out, err = once(environment("PGPASSWORD="+password), []byte(statement), filepath.Join(d.bin, "psql"), slices.Concat(psql,
			[]string{"--host=127.0.0.1", "--port=" + d.port, "--username=" + user, "notes_webapp"})...)
	}
	return string(out), err
}

// here has the addresses in the notes' template lead to this database.
func (d *database) here() map[string]string {
	return map[string]string{
		"host = mariadb": "host = 127.0.0.1", "host = postgres": "host = 127.0.0.1",
		"port = 3306": "port = " + d.port, "port = 5432": "port = " + d.port,
	}
}

// count asks the administrator how many notes there are of the load's people.
func (e *notesExample) count(t *testing.T) int {
	t.Helper()
	out, err := e.database().run("SELECT count(*) FROM notes WHERE author LIKE 'user-%@example.com';", "notes_webapp")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// credentials reads new ones as the operator.
func credentials(t *testing.T, path string) (user, password string) {
	t.Helper()
	var answer struct {
		Data struct{ Username, Password string }
	}
	if err := house.vault.Call(t.Context(), "GET", path, nil, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data.Username, answer.Data.Password
}
