package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// provisionFlags say what Vault should hold.
type provisionFlags struct {
	operatorFlags
	config, idpMetadata string
	gatewayRole         string
	tokenPeriod         time.Duration
}

// provisionCommand is run by a person with a powerful token, rarely; what the
// processes run with is what it sets up.
func provisionCommand(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Plan and apply what Vault must hold for a gateway and its sidecars",
		Long: `Plan and apply what Vault must hold for a gateway and the sidecars of its
routes: mounts, certificate authorities and roles, policies, AppRoles, and the
secrets that can be generated. Applying twice changes nothing; secrets that are
there are never overwritten, but metadata given by --idp-metadata replaces the
old; a running gateway reads it at its next start.

A Vault holds one gateway under the default names: a second one needs mounts,
roles and paths of its own in the section vault of its configuration. Read the
plan before you apply it: what it takes away ("->") is taken from whoever uses it.`,
	}
	cmd.AddCommand(
		provisionAction(std, "plan", "Show what apply would change", showChanges(provision.Plan)),
		provisionAction(std, "apply", "Make Vault hold it, and show what was changed", showChanges(provision.Apply)),
		provisionAction(std, "roles", "Print each AppRole and its RoleID, which its process is started with", showRoles),
	)
	demandAction(cmd)
	return cmd
}

// provisionFunc does one action and writes its result.
type provisionFunc func(ctx context.Context, w io.Writer, client *provision.Client, want provision.Spec) error

// provisionAction makes one of the commands below provision; they share all flags,
// so that a plan is turned into an apply by one word.
func provisionAction(std stdio, name, short string, act provisionFunc) *cobra.Command {
	var flags provisionFlags
	cmd := &cobra.Command{
		Use: name, Short: short, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "config", "vault-addr"); err != nil {
				return err
			}
			client, want, err := flags.prepare()
			if err != nil {
				return err
			}
			return act(cmd.Context(), std.Out, client, want)
		},
	}
	flags.add(cmd.Flags(), std)
	cmd.Flags().StringVar(&flags.config, "config", env(std, "", "SALLYPORT_CONFIG"), "the gateway's configuration `FILE` (SALLYPORT_CONFIG)")
	cmd.Flags().StringVar(&flags.idpMetadata, "idp-metadata", "", "`FILE` with the identity provider's metadata, stored for the gateway")
	cmd.Flags().StringVar(&flags.gatewayRole, "gateway-role", "sallyport-gateway", "`NAME` of the gateway's AppRole and policy")
	cmd.Flags().DurationVar(&flags.tokenPeriod, "token-period", 24*time.Hour, "period of the tokens that the AppRoles grant: the longest outage of Vault that they survive")
	return cmd
}

// showChanges makes an action of Plan or Apply: one line for each change, also
// of those made before one failed.
func showChanges(do func(context.Context, *provision.Client, *provision.Desired) ([]provision.Change, error)) provisionFunc {
	return func(ctx context.Context, w io.Writer, client *provision.Client, want provision.Spec) error {
		desired, err := provision.New(want)
		if err != nil {
			return usageError{err}
		}
		changes, err := do(ctx, client, desired)
		for _, change := range changes {
			_, _ = fmt.Fprintln(w, change)
		}
		if err == nil && len(changes) == 0 {
			_, err = fmt.Fprintln(w, "nothing to change")
		}
		return err
	}
}

// showRoles writes the name and the RoleID of each AppRole. A RoleID is no
// secret.
func showRoles(ctx context.Context, w io.Writer, client *provision.Client, want provision.Spec) error {
	roles := []string{want.GatewayRole}
	for _, sidecar := range want.Sidecars {
		roles = append(roles, sidecar.Role)
	}
	for _, role := range roles {
		id, err := client.RoleID(ctx, want.AuthMount, role)
		if err != nil {
			return &hinted{err, "check what is there with `sallyport provision plan`"}
		}
		if _, err := fmt.Fprintf(w, "%s %s\n", role, id); err != nil {
			return err
		}
	}
	return nil
}

// prepare reads what the flags name. Nothing is asked of Vault.
func (f *provisionFlags) prepare() (*provision.Client, provision.Spec, error) {
	var want provision.Spec
	text, err := source(f.config).readFile()
	if err != nil {
		return nil, want, err
	}
	cfg, err := config.LoadGateway(f.config, text)
	if err != nil {
		return nil, want, err
	}
	want = spec(cfg)
	want.AuthMount, want.GatewayRole, want.TokenPeriod = f.authMount, f.gatewayRole, f.tokenPeriod
	if f.idpMetadata != "" {
		if want.IdPMetadata, err = os.ReadFile(f.idpMetadata); err != nil {
			return nil, want, usageError{fmt.Errorf("reading the identity provider's metadata: %w", err)}
		}
		if err := judgeMetadata(cfg, want.IdPMetadata); err != nil {
			return nil, want, &hinted{usageError{fmt.Errorf("file %s: %w", f.idpMetadata, err)}, "give --idp-metadata the metadata document of your identity provider, as it exports it"}
		}
	}
	token, err := f.token()
	if err != nil {
		return nil, want, err
	}
	client, err := provision.NewClient(provision.Config{Server: f.server(), Token: token})
	return client, want, err
}

// judgeMetadata tries an identity provider's metadata the way a gateway will, so
// that what it would refuse is not stored. The key is thrown away.
func judgeMetadata(cfg *config.Gateway, metadata []byte) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generating a key: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("signing a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("parsing a certificate: %w", err)
	}
	settings := samlConfig(cfg, keyPair{key, certificate})
	settings.IdPMetadata = metadata
	_, err = newServiceProvider(settings)
	return err
}
