package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/vaultpki"
)

// vaultFlags say where Vault is. A flag wins over the environment; nothing else
// of the environment is read.
type vaultFlags struct {
	address, caFile string
	authMount       string
	unsafeHTTP      bool
}

// add declares the flags. Nothing that begins with VAULT_ is read but what they
// name: VAULT_SKIP_VERIFY and its kin must not loosen a front door.
func (f *vaultFlags) add(flags *pflag.FlagSet, io stdio) {
	flags.StringVar(&f.address, "vault-addr", env(io, "", "VAULT_ADDR", "BAO_ADDR"), "Vault's base `URL` (VAULT_ADDR or BAO_ADDR)")
	flags.StringVar(&f.caFile, "vault-ca-file", env(io, "", "VAULT_CACERT", "BAO_CACERT"), "PEM `FILE` with the only CA trusted for Vault (VAULT_CACERT or BAO_CACERT)")
	flags.StringVar(&f.authMount, "auth-mount", "approle", "`MOUNT` of the AppRole auth method")
	flags.BoolVar(&f.unsafeHTTP, "unsafe-vault-http", false, "speak plain http to a Vault on loopback")
}

// server is where Vault is.
func (f *vaultFlags) server() vaultpki.Server {
	return vaultpki.Server{Address: f.address, CAFile: f.caFile, UnsafeHTTP: f.unsafeHTTP}
}

// identityFlags say how this process is introduced.
type identityFlags struct {
	vaultFlags
	role, roleID, tokenFile string
	wait                    time.Duration
	maxWrapTTL              time.Duration

	loggedIn bool // set by login: the introduction is used up
}

// defaultTokenFile is where container engines mount a secret of that name.
const defaultTokenFile = "/run/secrets/vault_wrapping_token" //nolint:gosec // a path, not a credential

// add declares the flags; defaultRole may be empty for a role that must be named.
func (f *identityFlags) add(flags *pflag.FlagSet, io stdio, defaultRole string) {
	f.vaultFlags.add(flags, io)
	flags.StringVar(&f.role, "role", env(io, defaultRole, "SALLYPORT_ROLE"), "`NAME` of the AppRole that the wrapping token must come from (SALLYPORT_ROLE)")
	flags.StringVar(&f.roleID, "role-id", env(io, "", "VAULT_ROLE_ID", "BAO_ROLE_ID"), "the AppRole's RoleID, an `ID` and no secret (VAULT_ROLE_ID or BAO_ROLE_ID)")
	flags.StringVar(&f.tokenFile, "wrapping-token-file", defaultTokenFile, "`FILE` with the wrapping token of a single-use SecretID")
	flags.DurationVar(&f.wait, "vault-wait", 2*time.Minute, "how long to wait for a Vault that is away or sealed")
	flags.DurationVar(&f.maxWrapTTL, "max-wrap-ttl", time.Hour, "longest life of a wrapping token that is accepted")
}

// login proves this process to Vault.
func (f *identityFlags) login(ctx context.Context, log *slog.Logger) (*vaultpki.Client, error) {
	if f.unsafeHTTP {
		log.Warn("vault is spoken to without tls: whoever reads this host's loopback traffic has every secret", "flag", "--unsafe-vault-http")
	}
	client, err := vaultpki.Login(ctx, vaultpki.Config{
		Server: f.server(), AuthMount: f.authMount,
		Role: f.role, RoleID: f.roleID, WrappingTokenFile: f.tokenFile, MaxWrapTTL: f.maxWrapTTL, Wait: f.wait, Log: log,
	})
	f.loggedIn = err == nil
	return client, err
}

// closing says what the end of a process means, err being how its life ended:
// nothing if the stop was asked for before it served, and what a failure after
// the login costs.
func (f *identityFlags) closing(ctx context.Context, log *slog.Logger, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		log.Info("stopped before serving", "logged_in", f.loggedIn, "cause", err.Error())
		return nil
	case f.loggedIn && !errors.Is(err, proxy.ErrDrain):
		return &spentError{err, f.role}
	}
	return err
}

// operatorFlags are for commands that a person runs with a token of his own.
type operatorFlags struct {
	vaultFlags
	tokenFile string
	io        stdio
}

// add declares the flags.
func (f *operatorFlags) add(flags *pflag.FlagSet, io stdio) {
	f.vaultFlags.add(flags, io)
	f.io = io
	flags.StringVar(&f.tokenFile, "token-file", "", "`FILE` with your Vault token; without it VAULT_TOKEN or BAO_TOKEN is used")
}

// token reads the operator's token. It is never a flag: command lines are
// visible to everybody on the machine.
func (f *operatorFlags) token() (string, error) {
	if f.tokenFile == "" {
		token := env(f.io, "", "VAULT_TOKEN", "BAO_TOKEN")
		if token == "" {
			return "", usageError{errors.New("no Vault token: expected --token-file FILE, or VAULT_TOKEN in the environment")}
		}
		return token, nil
	}
	content, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", usageError{fmt.Errorf("reading the Vault token: %w", err)}
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", usageError{fmt.Errorf("token file %q is empty, expected a Vault token", f.tokenFile)}
	}
	return token, nil
}

// env returns the first of the named variables that is set and not empty, or
// fallback.
func env(io stdio, fallback string, names ...string) string {
	for _, name := range names {
		if value, ok := io.Env(name); ok && value != "" {
			return value
		}
	}
	return fallback
}

// requireFlags reports the first flag that is empty and without which the
// command makes no sense.
func requireFlags(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		flag := cmd.Flags().Lookup(name)
		if flag.Value.String() == "" {
			_, usage := pflag.UnquoteUsage(flag)
			return usageError{fmt.Errorf("flag --%s is missing, expected %s", name, usage)}
		}
	}
	return nil
}
