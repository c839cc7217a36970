package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/idp"
)

// reporter writes whole lines for the person at the terminal. Safe for concurrent
// use.
type reporter struct {
	mu  sync.Mutex
	out io.Writer
}

func newReporter(out io.Writer) *reporter { return &reporter{out: out} }

func (r *reporter) line(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.out, format+"\n", args...)
}

func (r *reporter) step(name, outcome string, took time.Duration) {
	r.line("  %-16s %-78s %4.1f s", name, outcome, took.Seconds())
}

// ready prints how to use the stack. Other programs read the line with "ready: ".
func (r *reporter) ready(set settings, token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.out, "\nready: %s/\n", set.doorURL())
	r.block(toolRows(set))
	r.block(peopleRows(set))
	r.block([]row{
		{"CA file", set.caFile() + "   (import it, or go past the browser's warning)"},
		{"Vault", set.vaultAddress() + "   CA file " + set.vaultCAFile()},
		{"", "root token " + token},
	})
	r.block([]row{
		{"sign-ons", set.explainCommand() + "   (with a NUMBER: every check of that one)"},
		{"log is whole", set.verifyCommand()},
		{"gateway.yaml", set.in("gateway.yaml") + "   (change it: it is in use within a minute)"},
	})
	r.block([]row{
		{"logs", set.in("log") + string(filepath.Separator)},
		{"", strings.Join(set.logNames(), "  ")},
	})
	pid := os.Getpid()
	r.block([]row{
		{"stop", fmt.Sprintf("Ctrl-C, or: kill %d", pid)},
		{"restart Vault", fmt.Sprintf("kill -USR1 %d   (and see that nobody notices)", pid)},
	})
	_, _ = fmt.Fprintln(r.out)
}

// row is one line of the summary; a name of "" continues the row above.
type row struct{ name, text string }

func (r *reporter) block(rows []row) {
	_, _ = fmt.Fprintln(r.out)
	for _, row := range rows {
		_, _ = fmt.Fprintf(r.out, "  %-14s %s\n", row.name, row.text)
	}
}

func toolRows(set settings) []row {
	var rows []row
	for _, t := range set.tools() {
		rows = append(rows, row{"", fmt.Sprintf("%-44s %s", set.toolURL(t)+"/", t.Description)})
	}
	rows[0].name = "tools"
	return rows
}

func peopleRows(set settings) []row {
	if set.IdPMetadata != "" {
		return []row{
			{"sign in", "with the identity provider described in " + set.IdPMetadata},
			{"", "it must be given our metadata: " + set.doorURL() + "/saml/metadata"},
			{"", "the tools are for the groups engineers and support, the audit page for auditors"},
		}
	}
	var rows []row
	for _, user := range idp.DemoUsers() {
		opens := set.openedBy(user)
		if slices.Contains(user.Groups, idp.Auditors) {
			opens = append(opens, "the audit page: "+set.doorURL()+"/.sallyport/audit")
		}
		rows = append(rows, row{"", fmt.Sprintf("%-6s password %-9s groups %-17s  opens %s",
			user.Name, user.Password, strings.Join(user.Groups, ", "), strings.Join(opens, ", "))})
	}
	rows[0].name = "sign in as"
	return append(rows, row{"change user", "sign out at the door, or at " + set.idpURL() + "/signout: each tells the other"})
}

// openedBy returns the names of the tools that one of the user's groups may open.
func (s settings) openedBy(user idp.User) []string {
	var names []string
	for _, t := range s.tools() {
		if slices.ContainsFunc(t.Groups, func(group string) bool { return slices.Contains(user.Groups, group) }) {
			names = append(names, t.Name)
		}
	}
	return names
}

// explainCommand shows what the gateway has made of the identity provider's messages.
func (s settings) explainCommand() string {
	return fmt.Sprintf("%s saml trace --admin-url http://%s", s.program("sallyport"), loopback(s.adminPort()))
}

// verifyCommand says whether the access log is whole, by what Vault has signed.
func (s settings) verifyCommand() string {
	return fmt.Sprintf("VAULT_ADDR=%s VAULT_CACERT=%s %s audit verify --vault --token-file %s %s",
		s.vaultAddress(), s.vaultCAFile(), s.program("sallyport"), s.tokenFile(), s.in("log", "access.log"))
}

// logNames are the logs in the order of a request's way through the stack.
func (s settings) logNames() []string {
	names := []string{"gateway.log", "access.log"}
	for _, t := range s.tools() {
		names = append(names, "sidecar-"+t.Name+".log", "app-"+t.Name+".log")
	}
	if s.IdPMetadata == "" {
		names = append(names, "idp.log")
	}
	return append(names, "vault.log", "provision.log")
}
