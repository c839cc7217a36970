package supervise

import (
	"slices"
	"strings"
)

// Names of environment variables that are ours, or Vault's, and not the application's:
// those that begin with one of withheldPrefixes, and withheldNames. The last of these are
// of the service manager, whose protocols are about this process.
var (
	withheldPrefixes = []string{"VAULT_", "BAO_", "SALLYPORT_"}
	withheldNames    = []string{
		"CREDENTIALS_DIRECTORY",
		"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
		"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "MAINPID", "MANAGERPID",
	}
)

// Inherited returns what an application inherits of an environment: everything that is
// neither Vault's nor ours.
func Inherited(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(withheldNames, name) ||
			slices.ContainsFunc(withheldPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	})
}

// merged is an environment with more added to it, in which each name stands once: of two
// entries the later counts.
func merged(base, more []string) []string {
	place := map[string]int{}
	var all []string
	for _, entry := range slices.Concat(base, more) {
		name, _, _ := strings.Cut(entry, "=")
		if at, known := place[name]; known {
			all[at] = entry
			continue
		}
		place[name] = len(all)
		all = append(all, entry)
	}
	return all
}
