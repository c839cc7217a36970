package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/tracing"
	"github.com/sallyport/sallyport/vaultpki"
)

// identityFlags say how this process proves itself to Vault.
type identityFlags struct {
	vaultFlags
	method                      string
	role, roleID                string
	wrappingFile, wrappingToken string
	secretIDFile, secretID      string
	jwtFile, tokenFile          string
	heirFile                    string
	heirTTL, wait, maxWrapTTL   time.Duration
	renewTokenFile, heirOnDisk  bool
	onRevocation                string
	unsafeRoot                  bool

	traced tracing.Calls
	shown  laterCertificates // what a collector may ask for
	client *vaultpki.Client  // set by login: the introduction is used up
	calls  *vaultMetrics     // of the client, set by login too
}

// defaultTokenFile is where container engines mount a secret of that name.
const defaultTokenFile = "/run/secrets/vault_wrapping_token" //nolint:gosec // a path, not a credential

// defaultHeirTTL is long enough for a night in which nobody comes.
const defaultHeirTTL = 24 * time.Hour

// methods are the values of --auth-method, and the flags without which each
// makes no sense.
var methods = map[string][]string{
	"approle":    {"role", "role-id"},
	"secret-id":  {"role-id"},
	"kubernetes": {"role"},
	"jwt":        {"jwt-file"},
	"cert":       {"vault-client-cert", "vault-client-key"},
	"token-file": {"token-file"},
}

// add declares the flags; defaultRole may be empty for a role that must be named.
func (f *identityFlags) add(flags *pflag.FlagSet, io stdio, defaultRole string) {
	f.vaultFlags.add(flags, io)
	flags.StringVar(&f.method, "auth-method", "approle", "how to log in: `METHOD` is approle, secret-id, kubernetes, jwt, cert or token-file")
	flags.StringVar(&f.authMount, "auth-mount", "", "`MOUNT` of the auth method (default approle, kubernetes, jwt or cert)")
	flags.StringVar(&f.role, "role", env(io, defaultRole, "SALLYPORT_ROLE"), "`NAME` of the AppRole that the wrapping token must come from, or of the method's role (SALLYPORT_ROLE)")
	flags.StringVar(&f.roleID, "role-id", env(io, "", "VAULT_ROLE_ID", "BAO_ROLE_ID"), "the AppRole's RoleID, an `ID` and no secret (VAULT_ROLE_ID or BAO_ROLE_ID)")
	flags.StringVar(&f.wrappingFile, "wrapping-token-file", defaultTokenFile, "`FILE` with the wrapping token of a single-use SecretID; without the flag SALLYPORT_WRAPPING_TOKEN is used if it is set")
	flags.StringVar(&f.secretIDFile, "secret-id-file", "", "`FILE` with a plain SecretID; without it VAULT_SECRET_ID or BAO_SECRET_ID is used")
	flags.StringVar(&f.jwtFile, "jwt-file", "", "`FILE` with the token for jwt or kubernetes; the latter's default is the pod's own")
	flags.StringVar(&f.tokenFile, "token-file", env(io, "", "SALLYPORT_TOKEN_FILE"), "`FILE` with a Vault token that an agent writes and keeps alive (SALLYPORT_TOKEN_FILE)")
	flags.BoolVar(&f.renewTokenFile, "renew-token-file", false, "renew the token of --token-file: nobody else does")
	flags.StringVar(&f.heirFile, "heir-file", "", "`FILE` on tmpfs for the credential of the next login, which the process makes itself")
	flags.DurationVar(&f.heirTTL, "heir-ttl", defaultHeirTTL, "how long the process may be down and still use it")
	flags.BoolVar(&f.heirOnDisk, "unsafe-heir-on-disk", false, "keep it on any file system")
	flags.StringVar(&f.onRevocation, "on-revocation", "serve", "what a revoked token means: `ACTION` is serve (serve on and log in again) or stop")
	flags.BoolVar(&f.unsafeRoot, "unsafe-root-token", false, "accept a token that may do everything")
	flags.DurationVar(&f.wait, "vault-wait", 2*time.Minute, "how long to wait for a Vault that is away or sealed")
	flags.DurationVar(&f.maxWrapTTL, "max-wrap-ttl", vaultpki.DefaultMaxWrapTTL, "longest life of a wrapping token that is accepted")
	// Secrets are no flags: command lines are visible to everybody on the machine.
	f.wrappingToken = env(io, "", "SALLYPORT_WRAPPING_TOKEN")
	f.secretID = env(io, "", "VAULT_SECRET_ID", "BAO_SECRET_ID")
}

// byAppRole says whether the method is Vault's AppRole.
func (f *identityFlags) byAppRole() bool { return f.method == "approle" || f.method == "secret-id" }

// require reports the first flag without which this command and this method make
// no sense.
func (f *identityFlags) require(cmd *cobra.Command, names ...string) error {
	needed, known := methods[f.method]
	if !known {
		return usageError{fmt.Errorf("flag --auth-method: found %q, expected approle, secret-id, kubernetes, jwt, cert or token-file", f.method)}
	}
	if f.onRevocation != "serve" && f.onRevocation != "stop" {
		return usageError{fmt.Errorf("flag --on-revocation: found %q, expected serve or stop", f.onRevocation)}
	}
	if cmd.Flags().Changed("wrapping-token-file") {
		f.wrappingToken = ""
	}
	for flag, fits := range map[string]string{
		"wrapping-token-file": "approle", "secret-id-file": "secret-id", "jwt-file": "jwt kubernetes",
		"token-file": "token-file", "renew-token-file": "token-file", "heir-file": "approle secret-id",
	} {
		if cmd.Flags().Changed(flag) && !strings.Contains(fits, f.method) {
			return usageError{fmt.Errorf("flag --%s has no use with --auth-method %s", flag, f.method)}
		}
	}
	if f.heirOnDisk && f.heirFile == "" {
		return usageError{errors.New("flag --unsafe-heir-on-disk has no use without --heir-file")}
	}
	return requireFlags(cmd, append(names, needed...)...)
}

// credential is the method of vaultpki that the flags describe.
func (f *identityFlags) credential() vaultpki.Method {
	role := vaultpki.AppRole{
		Mount: f.authMount, Role: f.role, RoleID: f.roleID, MaxWrapTTL: f.maxWrapTTL,
		Heir: vaultpki.Heir{File: f.heirFile, TTL: f.heirTTL, UnsafeOnDisk: f.heirOnDisk},
	}
	switch f.method {
	case "kubernetes", "jwt":
		return vaultpki.JWT{Kubernetes: f.method == "kubernetes", Mount: f.authMount, Role: f.role, File: f.jwtFile}
	case "cert":
		return vaultpki.Cert{Mount: f.authMount, Role: f.role}
	case "token-file":
		return vaultpki.TokenFile{File: f.tokenFile, Renew: f.renewTokenFile}
	case "secret-id":
		if role.SecretIDFile = f.secretIDFile; role.SecretIDFile == "" {
			role.UnsafeSecretID = f.secretID
		}
	default:
		if role.UnsafeWrappingToken = f.wrappingToken; role.UnsafeWrappingToken == "" {
			role.WrappingTokenFile = f.wrappingFile
		}
	}
	return role
}

// login proves this process to Vault.
func (f *identityFlags) login(ctx context.Context, log *slog.Logger) (*vaultpki.Client, error) {
	if f.unsafeHTTP {
		log.Warn("vault is spoken to without tls: whoever reads this host's loopback traffic has every secret", "flag", "--unsafe-vault-http")
	}
	f.calls = newVaultMetrics()
	cfg := vaultpki.Config{
		Server: f.server(), Method: f.credential(), UnsafeRootToken: f.unsafeRoot, Wait: f.wait, Observe: f.calls.observe, Log: log,
	}
	cfg.Wrap = func(base http.RoundTripper) http.RoundTripper { return f.traced.Wrap("vault", base) }
	if f.onRevocation == "stop" {
		cfg.OnRevocation = vaultpki.Stop
	}
	client, err := vaultpki.Login(ctx, cfg)
	f.client = client
	return client, err
}

// timedLogin is login as a step of a start: what came before it was reading the
// configuration.
func (f *identityFlags) timedLogin(ctx context.Context, log *slog.Logger, clock *stopwatch) (*vaultpki.Client, error) {
	clock.lap("configuration")
	client, err := f.login(ctx, log)
	clock.lap("login")
	return client, err
}

// stoppedEarly says whether err is that a stop was asked for before there was anything to
// serve.
func stoppedEarly(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// closing says what the end of a process means, err being how its life ended:
// nothing if the stop was asked for before it served, and what a failure after
// the login costs.
func (f *identityFlags) closing(ctx context.Context, log *slog.Logger, err error) error {
	loggedIn := f.client != nil
	switch {
	case err == nil:
		return nil
	case stoppedEarly(ctx, err):
		log.Info("stopped before serving", "logged_in", loggedIn, "cause", err.Error())
		return nil
	case !loggedIn || errors.Is(err, proxy.ErrDrain) || !f.byAppRole():
		return err
	}
	spent := &spentError{error: err, role: f.role}
	if !f.client.Status().HeirEnds.IsZero() {
		spent.heir = f.heirFile
	}
	return spent
}
