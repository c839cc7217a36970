package examples

import (
	"strings"
	"testing"
)

// TestTheRotatedPasswordIsVaultsAlone: the password of database.sql opens nothing once
// vault.sh has run, and Vault makes users with the one that nobody has seen.
func TestTheRotatedPasswordIsVaultsAlone(t *testing.T) {
	for name, e := range notes {
		t.Run(name, func(t *testing.T) {
			if out, err := e.as("vault", firstPassword, "SELECT 1;"); err == nil || !strings.Contains(out, e.denied) {
				t.Errorf("the first password of Vault's account: %v, %s; expected %q", err, out, e.denied)
			}
			if user, password := credentials(t, e.creds); user == "" || password == "" {
				t.Error("no credentials from a rotated account")
			}
		})
	}
}

// TestCredentialsMayReadAndAddAndNothingElse asks the databases.
func TestCredentialsMayReadAndAddAndNothingElse(t *testing.T) {
	for name, e := range notes {
		t.Run(name, func(t *testing.T) {
			user, password := credentials(t, e.creds)
			for statement, allowed := range map[string]bool{
				"SELECT count(*) FROM notes;":                              true,
				"INSERT INTO notes (author, text) VALUES ('alice', 'hi');": true,
				"DELETE FROM notes;":                                       false,
				"UPDATE notes SET text = '';":                              false,
				"CREATE TABLE more (id INT);":                              false,
				"CREATE USER mallory;":                                     false,
			} {
				out, err := e.as(user, password, statement)
				if (err == nil) != allowed || !allowed && !strings.Contains(out, e.forbidden) {
					t.Errorf("%s: %v, %s", statement, err, out)
				}
			}
		})
	}
}

// rooted is an account that may do everything, at two hosts with one password, as the
// images of MySQL and MariaDB make root.
const rooted = "CREATE USER 'NAME'@'localhost' IDENTIFIED BY 'known'; CREATE USER 'NAME'@'%' IDENTIFIED BY 'known';" +
	"GRANT ALL ON *.* TO 'NAME'@'localhost' WITH GRANT OPTION; GRANT ALL ON *.* TO 'NAME'@'%' WITH GRANT OPTION;"

// TestRotationOfRootReachesOneHostUnlessToldOthers shows why a rotation of root may look
// as if it had not happened: Vault changes the account at '%', and the one at
// localhost, which is another, keeps the password that was in the configuration.
func TestRotationOfRootReachesOneHostUnlessToldOthers(t *testing.T) {
	d := house.mariadb
	alter := "ALTER USER '{{username}}'@'HOST' IDENTIFIED BY '{{password}}';"
	for _, tt := range []struct {
		name       string
		statements []string
		locally    bool // whether the old password is still good on the machine itself
	}{
		{"byDefault", nil, true},
		{"everywhere", []string{strings.Replace(alter, "HOST", "%", 1), strings.Replace(alter, "HOST", "localhost", 1)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			user := "root_" + tt.name
			if out, err := d.run(strings.ReplaceAll(rooted, "NAME", user)); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			config := map[string]any{
				"plugin_name": "mysql-database-plugin", "connection_url": "{{username}}:{{password}}@tcp(" + d.address() + ")/",
				"username": user, "password": "known", "allowed_roles": "*", "root_rotation_statements": tt.statements,
			}
			call(t, "POST", "database/config/"+user, config)
			call(t, "POST", "database/rotate-root/"+user, nil)
			if out, err := d.over(user, "known", "--host=127.0.0.1", "--port="+d.port); err == nil || !strings.Contains(out, "Access denied") {
				t.Errorf("over TCP, where Vault signs in: %v, %s", err, out)
			}
			if out, err := d.over(user, "known", "--socket="+d.socket); (err == nil) != tt.locally {
				t.Errorf("over the socket: %v, %s; expected the old password to be good: %v", err, out, tt.locally)
			}
		})
	}
}

// TestCredentialsInTheAddressCannotBeRotated shows what Vault says to the other mistake.
func TestCredentialsInTheAddressCannotBeRotated(t *testing.T) {
	d := house.mariadb
	if out, err := d.run(strings.ReplaceAll(rooted, "NAME", "inline")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	call(t, "POST", "database/config/inline", map[string]any{
		"plugin_name": "mysql-database-plugin", "connection_url": "inline:known@tcp(" + d.address() + ")/", "allowed_roles": "*",
	})
	err := house.vault.Call(t.Context(), "POST", "database/rotate-root/inline", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "no username in configuration") {
		t.Errorf("error %v, expected one about the missing username", err)
	}
}

func call(t *testing.T, method, path string, body any) {
	t.Helper()
	if err := house.vault.Call(t.Context(), method, path, body, nil); err != nil {
		t.Fatal(err)
	}
}
