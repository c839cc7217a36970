package main

import (
	"context"
	"fmt"
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

func provisionCommand(io stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Plan and apply what Vault must hold for a gateway and its sidecars",
		Long: `Plan and apply what Vault must hold for a gateway and the sidecars of its
routes: mounts, certificate authorities and roles, policies, AppRoles, and the
secrets that can be generated. Applying twice changes nothing; secrets that are
there are never overwritten.`,
	}
	cmd.AddCommand(
		provisionAction(io, "plan", "Show what apply would change", provision.Plan),
		provisionAction(io, "apply", "Make Vault hold it, and show what was changed", provision.Apply),
	)
	demandAction(cmd)
	return cmd
}

type provisionFunc func(context.Context, *provision.Client, *provision.Desired) ([]provision.Change, error)

func provisionAction(io stdio, name, short string, act provisionFunc) *cobra.Command {
	var flags provisionFlags
	cmd := &cobra.Command{
		Use: name, Short: short, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "config", "vault-addr"); err != nil {
				return err
			}
			client, desired, err := flags.prepare()
			if err != nil {
				return err
			}
			changes, err := act(cmd.Context(), client, desired)
			for _, change := range changes {
				_, _ = fmt.Fprintln(io.Out, change)
			}
			if err == nil && len(changes) == 0 {
				_, err = fmt.Fprintln(io.Out, "nothing to change")
			}
			return err
		},
	}
	flags.add(cmd.Flags(), io)
	cmd.Flags().StringVar(&flags.config, "config", env(io, "", "SALLYPORT_CONFIG"), "the gateway's configuration `FILE` (SALLYPORT_CONFIG)")
	cmd.Flags().StringVar(&flags.idpMetadata, "idp-metadata", "", "`FILE` with the identity provider's metadata, stored for the gateway")
	cmd.Flags().StringVar(&flags.gatewayRole, "gateway-role", "sallyport-gateway", "`NAME` of the gateway's AppRole and policy")
	cmd.Flags().DurationVar(&flags.tokenPeriod, "token-period", 24*time.Hour, "period of the tokens that the AppRoles grant: the longest outage of Vault that they survive")
	return cmd
}

// prepare reads what the flags name.
func (f *provisionFlags) prepare() (*provision.Client, *provision.Desired, error) {
	text, err := source(f.config).readFile()
	if err != nil {
		return nil, nil, err
	}
	cfg, err := config.LoadGateway(f.config, text)
	if err != nil {
		return nil, nil, err
	}
	want := spec(cfg)
	want.AuthMount, want.GatewayRole, want.TokenPeriod = f.authMount, f.gatewayRole, f.tokenPeriod
	if f.idpMetadata != "" {
		if want.IdPMetadata, err = os.ReadFile(f.idpMetadata); err != nil {
			return nil, nil, usageError{fmt.Errorf("reading the identity provider's metadata: %w", err)}
		}
	}
	desired, err := provision.New(want)
	if err != nil {
		return nil, nil, usageError{err}
	}
	token, err := f.token()
	if err != nil {
		return nil, nil, err
	}
	client, err := provision.NewClient(provision.Config{
		Address: f.address, CAFile: f.caFile, UnsafeHTTP: f.unsafeHTTP, Token: token,
	})
	return client, desired, err
}
