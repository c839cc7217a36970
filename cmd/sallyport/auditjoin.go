package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/join"
)

// joinFlags say what is lined up.
type joinFlags struct {
	logFlags
	vault         []string
	since, until  string
	path, format  string
	window        time.Duration
	others        bool
	width         int
	found, hidden int
}

// joinCommand lines the log up with Vault's.
func joinCommand(std stdio) *cobra.Command {
	var flags joinFlags
	cmd := &cobra.Command{
		Use:   "join --vault FILE [FILE...]",
		Short: "Say who has caused what Vault was asked for",
		Long: `Line the access log up with the audit log of Vault's file device: for each answer of
Vault's that a process of ours has asked for, which one, and what it did at the time.
Tokens are told by their accessors, as both logs have them: hashed by Vault for one
audit device; give --vault the log of the device that access_log names.

  exact    a record names the token, and was under way: its request or event is why;
           "1 of 3" if three were, of which the one that began last is shown
  near     the process that has the token did this within --window
  process  the process that has the token, by itself: it keeps its token, certificates
           and secrets fresh
  unknown  (with --others) a token that no record of ours names

  sallyport audit join --vault vault-audit.log --log access.log --since 2h
  sallyport audit join --vault vault-audit.log --others --vault-path secret/data/sallyport/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd.Context(), std, args)
		},
	}
	flags.add(cmd.Flags(), std)
	flags.addIndex(cmd.Flags())
	cmd.Flags().StringArrayVar(&flags.vault, "vault", nil, "`FILE` of Vault's audit log, plain or compressed; may be given several times")
	cmd.Flags().StringVar(&flags.since, "since", "", "lines of Vault's log from this `TIME` on, as for audit query")
	cmd.Flags().StringVar(&flags.until, "until", "", "and up to this `TIME`")
	cmd.Flags().StringVar(&flags.path, "vault-path", "", "`BEGINNING` of the path in Vault")
	cmd.Flags().DurationVar(&flags.window, "window", 2*time.Second, "how far a record and a line may lie apart in time")
	cmd.Flags().BoolVar(&flags.others, "others", false, "also lines of tokens that are not ours")
	cmd.Flags().StringVar(&flags.format, "format", formatTable, "`FORMAT` of the answer: table, json or csv")
	cmd.Flags().IntVar(&flags.width, "width", 0, "how wide a table may be; 0 for the terminal's width, or any if there is none")
	return cmd
}

// joinHead are the columns of an answer.
var joinHead = []string{"time", "operation", "path", "how", "user", "action", "request_id", "record_time", "client", "service", "instance", "error", "vault_request_id"}

func (f *joinFlags) run(ctx context.Context, std stdio, named []string) error {
	if err := checkFormat(f.format, formatTable, formatJSON, formatCSV); err != nil {
		return err
	}
	if len(f.vault) == 0 {
		return usageError{errors.New("flag --vault is missing, expected the FILE of Vault's audit log")}
	}
	if f.window <= 0 || f.width < 0 {
		return usageError{errors.New("flag --window: expected more than 0, --width: 0 or more")}
	}
	cfg := join.Config{Files: f.vault, Window: f.window}
	for _, name := range f.vault {
		if _, err := os.Stat(name); err != nil {
			return usageError{fmt.Errorf("reading Vault's audit log: %w", err)}
		}
	}
	var err error
	if cfg.Since, err = moment("since", f.since, time.Now()); err != nil {
		return err
	}
	if cfg.Until, err = moment("until", f.until, time.Now()); err != nil {
		return err
	}
	x, err := f.open(ctx, std, named)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }() // was only asked
	return f.print(ctx, std, x, cfg)
}

func (f *joinFlags) print(ctx context.Context, std stdio, log join.Log, cfg join.Config) error {
	var result join.Result
	var failed error
	if f.width == 0 {
		f.width = terminalWidth(std.Out)
	}
	out := bufio.NewWriter(std.Out)
	err := printRows(out, f.format, f.width, joinHead, func(yield func([]string) bool) {
		for j, err := range join.Join(ctx, log, cfg, &result) {
			if err != nil {
				failed = err
				return
			}
			if !strings.HasPrefix(j.Path, f.path) {
				continue
			}
			if j.How == join.Unknown && !f.others {
				f.hidden++
				continue
			}
			if f.found++; !yield(joinRow(&j)) {
				return
			}
		}
	})
	if err = errors.Join(err, failed, out.Flush()); err != nil {
		return err
	}
	if result.Broken > 0 {
		_, _ = fmt.Fprintf(std.Err, "note: %s of Vault's audit log\n", are(int64(result.Broken), "line", "no record"))
	}
	if f.hidden > 0 {
		_, _ = fmt.Fprintf(std.Err, "note: lines of tokens that no record of ours names: %d; --others shows them\n", f.hidden)
	}
	if f.found == 0 {
		_, _ = fmt.Fprintln(std.Err, "note: no line is ours: do both logs have accessors of the same audit device?")
	}
	return nil
}

// joinRow are the values of joinHead.
func joinRow(j *join.Joined) []string {
	how := j.How.String()
	if j.Candidates > 1 {
		how += fmt.Sprintf(", 1 of %d", j.Candidates)
	}
	row := []string{j.Time.Format("2006-01-02T15:04:05.000000Z"), j.Operation, j.Path, how}
	cause := []string{"", "", "", "", ""}
	if j.How >= join.Near {
		cause = causeOf(&j.Cause)
	}
	return append(append(row, cause...), or(j.Service, j.DisplayName), j.Instance, j.Error, j.RequestID)
}

// causeOf says who, what, by which request, when and from where.
func causeOf(e *audit.Entry) []string {
	return []string{
		e.Value(audit.User), e.Value(audit.Action), e.Value(audit.RequestID), e.Time.Format("2006-01-02T15:04:05.000000Z"), e.Value(audit.Address),
	}
}
