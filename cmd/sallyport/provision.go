package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/vaultpki/provision"
)

// provisionCommand is run by a person with a powerful token, rarely; what the
// processes run with is what it sets up.
func provisionCommand(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Plan and apply what Vault must hold for a gateway and its sidecars",
		Long: `Plan and apply what Vault must hold for a gateway and its sidecars: mounts,
certificate authorities and roles, policies, AppRoles, and the secrets that can
be generated. What that is follows from the gateway's configuration (--config),
from a file that says what such a configuration cannot (--file), or from both.

Applying twice changes nothing; secrets that are there are never overwritten, but
metadata given by --idp-metadata replaces the old. In the plan, "+" is made, "~"
changes, and "!" loosens: it widens what somebody may do, or for how long. Apply
changes nothing at all as long as something loosens, unless --allow-loosen is
given. A second gateway needs mounts, roles and paths of its own; under the
names of the first it would take those over, which shows as loosening.

Rotate replaces a key or an authority in steps that overlap. docs/provisioning.md
has the whole of it.`,
	}
	cmd.AddCommand(
		provisionAction(std, "plan", "Show what apply would change", showPlan),
		provisionApply(std),
		provisionAction(std, "roles", "Print each AppRole and its RoleID, which its process is started with", showRoles),
		rotateCommand(std),
	)
	demandAction(cmd)
	return cmd
}

// provisionFunc does one action and writes its result.
type provisionFunc func(ctx context.Context, std stdio, client *provision.Client, want wanted) error

// provisionAction makes one of the commands below provision; they share all flags,
// so that a plan is turned into an apply by one word.
func provisionAction(std stdio, name, short string, act provisionFunc) *cobra.Command {
	var flags provisionFlags
	cmd := &cobra.Command{
		Use: name, Short: short, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			want, err := flags.wants(cmd)
			if err != nil {
				return err
			}
			client, err := flags.client()
			if err != nil {
				return err
			}
			return act(cmd.Context(), std, client, want)
		},
	}
	flags.add(cmd.Flags(), std)
	cmd.Flags().StringArrayVar(&flags.idpMetadata, "idp-metadata", nil, "`[NAME=]FILE` with the metadata of an identity provider, stored for the gateway; again for each")
	return cmd
}

// provisionApply has one flag more: nobody loosens by habit.
func provisionApply(std stdio) *cobra.Command {
	var loosening bool
	cmd := provisionAction(std, "apply", "Make Vault hold it, and show what was changed",
		func(ctx context.Context, std stdio, client *provision.Client, want wanted) error {
			do := provision.Apply
			if loosening {
				do = provision.ApplyLoosening
			}
			_, err := showChanges(ctx, std.Out, client, want.spec, do)
			var loose *provision.LooseningError
			if errors.As(err, &loose) {
				return &hinted{err, "read what is marked (loosens), and was `-f vault.yaml` forgotten? If it is meant, run the same with --allow-loosen; " +
					"a gateway beside another needs mounts, roles and paths of its own"}
			}
			if err != nil {
				return err
			}
			return remarkMetadata(ctx, std, client, want)
		})
	cmd.Flags().BoolVar(&loosening, "allow-loosen", false, "also make changes that widen what somebody may do, or for how long")
	return cmd
}

// showPlan writes the plan, and says what apply will not do unasked.
func showPlan(ctx context.Context, std stdio, client *provision.Client, want wanted) error {
	changes, err := showChanges(ctx, std.Out, client, want.spec, provision.Plan)
	if loose := provision.Loosening(changes); err == nil && len(loose) > 0 {
		_, err = fmt.Fprintf(std.Out, "%d of these loosen: apply refuses all of it without --allow-loosen\n", len(loose))
	}
	if err != nil {
		return err
	}
	return remarkMetadata(ctx, std, client, want)
}

// remarkMetadata says, beside the changes, that the gateway will miss what only a
// person can give.
func remarkMetadata(ctx context.Context, std stdio, client *provision.Client, want wanted) error {
	if len(want.metadata) == 0 {
		return nil
	}
	where, lacking, err := provision.LacksMetadata(ctx, client, want.spec, want.metadata)
	if err != nil || len(lacking) == 0 {
		return err
	}
	_, err = fmt.Fprintf(std.Err, "note: %s has no %s: give --idp-metadata, or the gateway will not start\n", where, strings.Join(lacking, ", "))
	return err
}

// showChanges does a plan or an apply and writes one line for each change, also
// of those made before one failed.
func showChanges(
	ctx context.Context, w io.Writer, client *provision.Client, want provision.Spec,
	do func(context.Context, *provision.Client, *provision.Desired) ([]provision.Change, error),
) ([]provision.Change, error) {
	desired, err := provision.New(want)
	if err != nil {
		return nil, usageError{err}
	}
	changes, err := do(ctx, client, desired)
	for _, change := range changes {
		_, _ = fmt.Fprintln(w, change)
	}
	if err == nil && len(changes) == 0 {
		_, err = fmt.Fprintln(w, "nothing to change")
	}
	return changes, err
}

// showRoles writes the name and the RoleID of each AppRole. A RoleID is no
// secret.
func showRoles(ctx context.Context, std stdio, client *provision.Client, asked wanted) error {
	want := asked.spec
	roles := []string{want.GatewayRole}
	for _, sidecar := range want.Sidecars {
		roles = append(roles, sidecar.Role)
	}
	if want.Driver.AppRole {
		roles = append(roles, want.Driver.Policy)
	}
	for _, role := range roles {
		id, err := client.RoleID(ctx, want.AuthMount, role)
		if err != nil && hintOf(err) == "" {
			return &hinted{err, "check what is there with `sallyport provision plan`"}
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(std.Out, "%s %s\n", role, id); err != nil {
			return err
		}
	}
	return nil
}
