package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/proxy/accesslog/audit/verify"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/vaultpki"
)

// tamperedError is a log that is not whole. What is wrong stands in the report.
type tamperedError struct{ findings uint64 }

// Error counts the findings.
func (e *tamperedError) Error() string {
	if e.findings == 1 {
		return "the log is not whole: 1 finding"
	}
	return fmt.Sprintf("the log is not whole: %d findings", e.findings)
}

// signerFlags say by what the signatures of a log are verified.
type signerFlags struct {
	operator operatorFlags
	vault    bool
	keyFile  string
	key      string
	kvMount  string
	path     string
}

func (f *signerFlags) add(cmd *cobra.Command, std stdio) {
	f.operator.add(cmd.Flags(), std)
	_ = cmd.Flags().MarkHidden("auth-mount") // no login is made
	cmd.Flags().StringVar(&f.key, "transit-key", "transit/sallyport-access-log", "`MOUNT/NAME` of the key in Vault that signs the log")
}

// connect returns a client with the operator's token.
func (f *signerFlags) connect() (*vaultpki.Client, error) {
	token, err := f.operator.token()
	if err != nil {
		return nil, err
	}
	return vaultpki.WithToken(f.operator.server(), token)
}

// publicKeys reads the public keys from Vault.
func (f *signerFlags) publicKeys(ctx context.Context, client *vaultpki.Client) (checkpoint.Keys, error) {
	at := strings.LastIndexByte(f.key, '/')
	if at < 0 {
		return nil, usageError{fmt.Errorf("flag --transit-key is %q, expected MOUNT/NAME", f.key)}
	}
	mount, name := f.key[:at], f.key[at+1:]
	key, err := vaultpki.NewTransitKey(client, mount, name)
	if err != nil {
		return nil, err
	}
	return transitSigner{key, mount, name}.keys(ctx)
}

// verifyFlags are those of audit verify.
type verifyFlags struct {
	signer signerFlags
	config verify.Config
	json   bool
}

// verifyCommand says whether a log is whole.
func verifyCommand(std stdio) *cobra.Command {
	var flags verifyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE…",
		Short: "Show that no record was edited, removed, inserted, moved or cut off",
		Long: `Show that no record of an access log was edited, removed, inserted, moved, repeated
or cut off, or name each that was. Files may be compressed by gzip, and given in any
order: all that a log was rotated into, and those of all replicas, so that they vouch
for each other. "-" is the standard input.

Each record names the one before it, and Vault signs that chain from time to time. The
signatures are verified by public keys from a file (--keys, as "sallyport audit keys"
prints them) or from Vault (--vault), which also has the latest checkpoint of each
process: an end that was cut off shows there. With --chain-only nothing is verified
but the chain, which whoever could write to the files could have made anew.

The exit code is 5 if anything is wrong. docs/audit-verify.md tells what each finding
means, and what can be shown and what cannot.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("no file, expected those of a log, or - for the standard input")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.config.Files, flags.config.Input = args, std.In
			return flags.run(cmd.Context(), std)
		},
	}
	flags.signer.add(cmd, std)
	set := cmd.Flags()
	set.StringVar(&flags.signer.keyFile, "keys", "", "`FILE` with the public keys")
	set.BoolVar(&flags.signer.vault, "vault", false, "read the public keys, and what was published, from Vault")
	set.StringVar(&flags.signer.kvMount, "kv-mount", "secret", "`MOUNT` of KV version 2 that checkpoints are published in")
	set.StringVar(&flags.signer.path, "log-path", "sallyport/log", "`PATH` there below which they are")
	set.BoolVar(&flags.config.ChainOnly, "chain-only", false, "verify no signature of Vault's")
	set.BoolVar(&flags.config.Copy, "copy", false, "the files are what a collector received: repeats, another order and lines of others are counted, and no fault")
	set.BoolVar(&flags.config.Partial, "partial", false, "the files are an excerpt: what is missing before and behind it is no fault")
	set.BoolVar(&flags.json, "json", false, "print the report as JSON")
	return cmd
}

// run verifies, and reports.
func (f *verifyFlags) run(ctx context.Context, std stdio) error {
	if err := f.signers(ctx); err != nil {
		return err
	}
	report, err := verify.Verify(ctx, f.config)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	if f.json {
		e := json.NewEncoder(std.Out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		_, err = report.WriteTo(std.Out)
	}
	if err == nil && !report.Whole() {
		return &tamperedError{report.FindingCount}
	}
	return err
}

// signers fetches what signatures are verified by. To forget it must not be a way to
// find a log whole.
func (f *verifyFlags) signers(ctx context.Context) error {
	given := 0
	for _, is := range []bool{f.signer.keyFile != "", f.signer.vault, f.config.ChainOnly} {
		if is {
			given++
		}
	}
	if given != 1 {
		return usageError{&hinted{
			fmt.Errorf("%d of --keys, --vault and --chain-only are given, expected one", given),
			"--vault reads the public keys from Vault; `sallyport audit keys` prints them for --keys",
		}}
	}
	if f.signer.keyFile != "" {
		return f.keysFromFile()
	}
	if f.signer.vault {
		return f.fromVault(ctx)
	}
	return nil
}

func (f *verifyFlags) keysFromFile() error {
	file, err := os.Open(f.signer.keyFile)
	if err != nil {
		return usageError{fmt.Errorf("opening the public keys: %w", err)}
	}
	defer func() { _ = file.Close() }() // was only read from
	if f.config.Keys, err = checkpoint.ReadKeys(file); err != nil {
		return usageError{err}
	}
	return nil
}

func (f *verifyFlags) fromVault(ctx context.Context) error {
	client, err := f.signer.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	if f.config.Keys, err = f.signer.publicKeys(ctx, client); err != nil {
		return err
	}
	board, err := vaultpki.NewBoard(client, f.signer.kvMount, f.signer.path)
	if err != nil {
		return err
	}
	published, faults, err := checkpoint.Published(ctx, vaultBoard{board})
	f.config.Published, f.config.PublishedFaults = published, faults
	return err
}

// auditKeysCommand prints what a log is verified by where Vault cannot be asked.
func auditKeysCommand(std stdio) *cobra.Command {
	var flags signerFlags
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Print the public keys that verify signatures of the log",
		Long: `Print the public keys of all versions of the key in Vault that signs the access log,
a line for each, for "sallyport audit verify --keys". Keep them where whoever can
write to the log cannot.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "vault-addr"); err != nil {
				return err
			}
			client, err := flags.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			keys, err := flags.publicKeys(cmd.Context(), client)
			if err != nil {
				return err
			}
			return checkpoint.WriteKeys(std.Out, keys)
		},
	}
	flags.add(cmd, std)
	return cmd
}
