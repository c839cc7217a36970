package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/vaultpki"
)

// vaultFlags say where Vault is. A flag wins over the environment; nothing else
// of the environment is read.
type vaultFlags struct {
	address, caFile, namespace string
	certFile, keyFile          string
	authMount                  string
	unsafeHTTP                 bool
}

// add declares the flags. Nothing that begins with VAULT_ is read but what they
// name: VAULT_SKIP_VERIFY and its kin must not loosen a front door.
func (f *vaultFlags) add(flags *pflag.FlagSet, io stdio) {
	flags.StringVar(&f.address, "vault-addr", env(io, "", "VAULT_ADDR", "BAO_ADDR"), "Vault's base `URL`, or those of its nodes, separated by commas (VAULT_ADDR or BAO_ADDR)")
	flags.StringVar(&f.caFile, "vault-ca-file", env(io, "", "VAULT_CACERT", "BAO_CACERT"), "PEM `FILE` with the only CA trusted for Vault (VAULT_CACERT or BAO_CACERT)")
	flags.StringVar(&f.namespace, "vault-namespace", env(io, "", "VAULT_NAMESPACE", "BAO_NAMESPACE"), "`NAMESPACE` of every call (VAULT_NAMESPACE or BAO_NAMESPACE)")
	flags.StringVar(&f.certFile, "vault-client-cert", env(io, "", "VAULT_CLIENT_CERT", "BAO_CLIENT_CERT"), "PEM `FILE` with our certificate for Vault, read again when it changes (VAULT_CLIENT_CERT or BAO_CLIENT_CERT)")
	flags.StringVar(&f.keyFile, "vault-client-key", env(io, "", "VAULT_CLIENT_KEY", "BAO_CLIENT_KEY"), "PEM `FILE` with its private key (VAULT_CLIENT_KEY or BAO_CLIENT_KEY)")
	flags.BoolVar(&f.unsafeHTTP, "unsafe-vault-http", false, "speak plain http to a Vault on loopback")
}

// server is where Vault is.
func (f *vaultFlags) server() vaultpki.Server {
	return vaultpki.Server{
		Address: f.address, CAFile: f.caFile, UnsafeHTTP: f.unsafeHTTP,
		Namespace: f.namespace, CertFile: f.certFile, KeyFile: f.keyFile,
	}
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
	flags.StringVar(&f.authMount, "auth-mount", "approle", "`MOUNT` of the AppRole auth method")
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

// flagHints say of flags where their value comes from, where the help cannot.
var flagHints = map[string]string{"role-id": "`sallyport provision roles` prints it"}

// requireFlags reports the first flag that is empty and without which the
// command makes no sense.
func requireFlags(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		flag := cmd.Flags().Lookup(name)
		if flag.Value.String() == "" {
			_, usage := pflag.UnquoteUsage(flag)
			err := usageError{fmt.Errorf("flag --%s is missing, expected %s", name, usage)}
			if hint := flagHints[name]; hint != "" {
				return &hinted{err, hint}
			}
			return err
		}
	}
	return nil
}
