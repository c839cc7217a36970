package idp

import (
	"crypto/sha256"
	"crypto/subtle"
)

// User is somebody who can sign in.
type User struct {
	Name     string // what is typed into the login page
	Password string
	FullName string
	Email    string
	Groups   []string
}

// Auditors is the group whose members look through the demo's access log.
const Auditors = "auditors"

// DemoUsers returns the people of the demo: two who work, and one who looks at the access
// log and may open no tool. Their passwords are public.
func DemoUsers() []User {
	return []User{
		{
			Name: "alice", Password: "alice-pw", FullName: "Alice Archer",
			Email: "alice@example.com", Groups: []string{"engineers", "admins"},
		},
		{
			Name: "bob", Password: "bob-pw", FullName: "Bob Baker",
			Email: "bob@example.com", Groups: []string{"support"},
		},
		{
			Name: "erin", Password: "erin-pw", FullName: "Erin Evans",
			Email: "erin@example.com", Groups: []string{Auditors},
		},
	}
}

// authenticate returns the user of that name if the password is theirs. Every
// user is compared, so that the time tells nothing about which names exist.
func authenticate(users []User, name, password string) (User, bool) {
	var found User
	ok := false
	given := sha256.Sum256([]byte(password))
	for _, user := range users {
		want := sha256.Sum256([]byte(user.Password))
		right := subtle.ConstantTimeCompare(given[:], want[:]) == 1
		if right && user.Name == name {
			found, ok = user, true
		}
	}
	return found, ok
}
