package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/vaultpki"
)

// boardFlags are those of audit board.
type boardFlags struct {
	signer signerFlags
	prune  bool
	older  string
	killed bool
}

// boardCommand lists what instances have published in Vault, and removes what is not
// needed any more.
func boardCommand(std stdio) *cobra.Command {
	var flags boardFlags
	cmd := &cobra.Command{
		Use:   "board",
		Short: "List the checkpoints that are published in Vault, and remove old ones",
		Long: `List the latest checkpoint that each instance has published in Vault, the newest first:
by it "sallyport audit verify --vault" notices an end that was cut off, and a log that
is gone.

With --prune those are removed that are older than --older-than, whose instance has
ended in order, and that Vault has signed; with --killed also those of instances that
were killed. Remove what the files are deleted of, and keep --older-than longer than
the retention of the log: what is removed here is missed nowhere any more. That takes a
token that may delete below secret/metadata/sallyport/log, which no gateway's may.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "vault-addr"); err != nil {
				return err
			}
			return flags.run(cmd.Context(), std)
		},
	}
	flags.signer.add(cmd, std)
	set := cmd.Flags()
	set.StringVar(&flags.signer.kvMount, "kv-mount", "secret", "`MOUNT` of KV version 2 that checkpoints are published in")
	set.StringVar(&flags.signer.path, "log-path", "sallyport/log", "`PATH` there below which they are")
	set.BoolVar(&flags.prune, "prune", false, "remove old ones")
	set.BoolVar(&flags.killed, "killed", false, "with --prune: also those of instances that have not ended in order")
	set.StringVar(&flags.older, "older-than", "400d", "with --prune: `AGE` of the checkpoint, in days (400d)")
	return cmd
}

// age is what --older-than says.
func (f *boardFlags) age() (time.Duration, error) {
	days, ok := cutSuffixNumber(f.older, "d")
	if !ok || days < 1 || days > 36_500 {
		return 0, usageError{fmt.Errorf("flag --older-than is %q, expected days, as 400d", f.older)}
	}
	return time.Duration(days) * 24 * time.Hour, nil
}

// cutSuffixNumber reads a number before a unit.
func cutSuffixNumber(text, unit string) (n int, ok bool) {
	if len(text) <= len(unit) || text[len(text)-len(unit):] != unit {
		return 0, false
	}
	n, err := strconv.Atoi(text[:len(text)-len(unit)])
	return n, err == nil
}

func (f *boardFlags) run(ctx context.Context, std stdio) error {
	age, err := f.age()
	if err != nil {
		return err
	}
	client, err := f.signer.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	keys, err := f.signer.publicKeys(ctx, client)
	if err != nil {
		return err
	}
	board, err := vaultpki.NewBoard(client, f.signer.kvMount, f.signer.path)
	if err != nil {
		return err
	}
	all, err := checkpoint.Latest(ctx, vaultBoard{board})
	if err != nil {
		return err
	}
	return f.tell(std, keys, all, func(p checkpoint.Posted) (bool, error) {
		old := p.Checkpoint != nil && time.Since(p.Time) > age
		forged := p.Checkpoint == nil || keys.Verify(p.Checkpoint) != nil // and shown as that
		if !f.prune || !old || !p.Ended && !f.killed || forged {
			return false, nil
		}
		return true, board.Remove(ctx, p.Name)
	})
}

// tell prints what is on the board, and what becomes of each.
func (*boardFlags) tell(std stdio, keys checkpoint.Keys, all []checkpoint.Posted, prune func(checkpoint.Posted) (bool, error)) error {
	table := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "INSTANCE\tRECORD\tTIME\tEND\tSIGNATURE\t") // Flush has the error
	removed, failed := 0, error(nil)
	for _, p := range all {
		gone, err := prune(p)
		if err != nil {
			failed = err
			break
		}
		became := ""
		if gone {
			became = "removed"
			removed++
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\n", describe(p, keys), became)
	}
	if err := errors.Join(table.Flush(), failed); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(std.Out, "%d published, %d removed\n", len(all), removed); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}

// describe is a row of the table.
func describe(p checkpoint.Posted, keys checkpoint.Keys) string {
	if p.Err != nil {
		return fmt.Sprintf("%.40s\t-\t-\t-\t%v", p.Name, p.Err)
	}
	end, signature := "not ended", "right"
	if p.Ended {
		end = "ended"
	}
	if err := keys.Verify(p.Checkpoint); err != nil {
		signature = err.Error()
	}
	return fmt.Sprintf("%s\t%d\t%s\t%s\t%s", p.Name, p.Sequence, p.Time.UTC().Format(time.RFC3339), end, signature)
}
