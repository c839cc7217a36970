package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// revealCommand turns pseudonyms of the access log back into names, for who may read the
// key.
func revealCommand(std stdio) *cobra.Command {
	var r reveal
	cmd := &cobra.Command{
		Use:   "reveal --user NAME [FILE...]",
		Short: "Say which pseudonym in the access log is whose",
		Long: `Say which pseudonym in the access log is whose.

Where access_log.pseudonymise is on, people stand in the log under pseudonyms,
made with a key in Vault. Whoever may read that key (policy sallyport-auditor)
can try names:

  sallyport audit reveal --user alice@example.com
        prints her pseudonyms, under the key and under the one before
  sallyport audit reveal --user alice@example.com access.log*
        prints the lines that are about her, as they stand there
  sallyport audit reveal --users staff.txt --pseudonym p-2f7kq3zw4mxa6bcd5e2f7kq3zw
        prints who of them that is

No pseudonym says by itself whose it is: there must be names to try. Vault's audit
log records who has read the key.`,
		Args: func(_ *cobra.Command, files []string) error { return r.check(files) },
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := requireFlags(cmd, "vault-addr"); err != nil {
				return err
			}
			return r.run(cmd.Context(), std.Out, files)
		},
	}
	flags := cmd.Flags()
	r.operator.add(flags, std)
	flags.StringVar(&r.mount, "kv-mount", "secret", "`MOUNT` of the KV engine, as vault.kv_mount")
	flags.StringVar(&r.path, "audit-path", "sallyport/audit", "`PATH` of the secret with the key, as vault.audit_path")
	flags.StringArrayVar(&r.users, "user", nil, "`NAME` to try, as an identity provider says it; again for another")
	flags.StringVar(&r.list, "users", "", "`FILE` with names to try, one on each line")
	flags.StringArrayVar(&r.pseudonyms, "pseudonym", nil, "`PSEUDONYM` to find the name of; again for another")
	return cmd
}

// reveal is what is asked for.
type reveal struct {
	operator    operatorFlags
	mount, path string
	users       []string
	list        string
	pseudonyms  []string
}

// check refuses what makes no sense, before Vault is asked.
func (r *reveal) check(files []string) error {
	switch {
	case len(r.users) == 0 && r.list == "":
		return usageError{errors.New("no names to try, expected --user NAME or --users FILE")}
	case len(r.pseudonyms) > 0 && len(files) > 0:
		return usageError{errors.New("both --pseudonym and files are given, expected one of them")}
	}
	for _, p := range r.pseudonyms {
		if !strings.HasPrefix(p, accesslog.PseudonymPrefix) {
			return usageError{fmt.Errorf("flag --pseudonym is %q, expected what begins with %s", p, accesslog.PseudonymPrefix)}
		}
	}
	return nil
}

// mostNames bounds a list of names.
const mostNames = 1_000_000

// names are those to try, each once.
func (r *reveal) names() ([]string, error) {
	names, seen := []string{}, map[string]bool{}
	add := func(name string) {
		if name = strings.TrimSpace(name); name != "" && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, name := range r.users {
		add(name)
	}
	if r.list == "" {
		return names, nil
	}
	f, err := os.Open(r.list)
	if err != nil {
		return nil, usageError{fmt.Errorf("reading names to try: %w", err)}
	}
	defer func() { _ = f.Close() }() // was only read from
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if add(lines.Text()); len(names) > mostNames {
			return nil, usageError{fmt.Errorf("file %s has more than %d names", r.list, mostNames)}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, usageError{fmt.Errorf("reading names to try: %w", err)}
	}
	return names, nil
}

// key is one under which pseudonyms were made.
type key struct {
	name  string
	names *accesslog.Pseudonyms
}

// keys reads them from Vault.
func (r *reveal) keys(ctx context.Context) ([]key, error) {
	token, err := r.operator.token()
	if err != nil {
		return nil, err
	}
	client, err := provision.NewClient(provision.Config{Server: r.operator.server(), Token: token})
	if err != nil {
		return nil, err
	}
	var keys []key
	for _, field := range []string{fieldPseudonymKey, fieldPseudonymKeyPrevious} {
		text, err := client.Field(ctx, r.mount, r.path, field)
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("field %s of %s/%s is not base64", field, r.mount, r.path)
		}
		names, err := accesslog.NewPseudonyms(raw)
		if err != nil {
			return nil, fmt.Errorf("field %s of %s/%s: %w", field, r.mount, r.path, err)
		}
		keys = append(keys, key{field, names})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("secret %s/%s has no field %s", r.mount, r.path, fieldPseudonymKey)
	}
	return keys, nil
}

// run answers.
func (r *reveal) run(ctx context.Context, out io.Writer, files []string) error {
	names, err := r.names()
	if err != nil {
		return err
	}
	keys, err := r.keys(ctx)
	if err != nil {
		return err
	}
	whose := map[string]string{}
	for _, name := range names {
		for _, k := range keys {
			pseudonym := k.names.Of(name)
			whose[pseudonym] = name
			if len(files)+len(r.pseudonyms) == 0 {
				if _, err := fmt.Fprintf(out, "%s\t%s\t%s\n", pseudonym, visible(name), k.name); err != nil {
					return err
				}
			}
		}
	}
	if len(files) > 0 {
		return copyLinesOf(ctx, out, whose, files)
	}
	return r.find(out, whose)
}

// find says whose each pseudonym is that is asked about.
func (r *reveal) find(out io.Writer, whose map[string]string) error {
	var unknown []string
	for _, p := range r.pseudonyms {
		name, ok := whose[p]
		if !ok {
			unknown = append(unknown, p)
			continue
		}
		if _, err := fmt.Fprintf(out, "%s\t%s\n", p, visible(name)); err != nil {
			return err
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("%s: of none of the names, under neither key", strings.Join(unknown, ", "))
	}
	return nil
}

// copyLinesOf copies the lines that are about these people, as they stand in the files.
func copyLinesOf(ctx context.Context, out io.Writer, whose map[string]string, files []string) error {
	buffered := bufio.NewWriter(out)
	for line, err := range logfile.Lines(ctx, files...) {
		if err != nil {
			return errors.Join(err, buffered.Flush())
		}
		if !isAbout(line.Text, whose) {
			continue
		}
		_, _ = buffered.Write(line.Text) // Flush has its error
		_ = buffered.WriteByte('\n')
	}
	return buffered.Flush()
}

// isAbout reports whether a line names one of these pseudonyms where it says who it is
// about.
func isAbout(line []byte, whose map[string]string) bool {
	if !bytes.Contains(line, []byte(`"`+accesslog.PseudonymPrefix)) {
		return false
	}
	for name, value := range logfile.Members(line) {
		if name == "user.name" {
			_, ok := whose[logfile.Text(value)]
			return ok
		}
	}
	return false
}
