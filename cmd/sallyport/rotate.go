package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/vaultpki/provision"
)

// rotateFlags say how a rotation goes.
type rotateFlags struct {
	provisionFlags
	side            string
	settle, session time.Duration
	vouched         bool
	wait, dryRun    bool
}

// rotateCommand replaces a key or an authority that is in use.
func rotateCommand(std stdio) *cobra.Command {
	var flags rotateFlags
	kinds := []string{provision.SPKey, provision.SessionKey, provision.AssertionKey, provision.Intermediate, provision.Root}
	cmd := &cobra.Command{
		Use:       "rotate sp-key|session-key|assertion-key|intermediate|root",
		Short:     "Replace a key or an authority in steps that overlap",
		ValidArgs: kinds,
		Long: `Replace a key or an authority in steps that overlap, so that at no time a process
meets a key or an authority that it does not know: next makes it, publish shows
it to everybody, switch uses it, retire removes the old one.

Each run does the step that is due, if one is, and says what comes next and when;
with --wait it goes on to the end. How far a rotation is follows from what is in
Vault: it goes on wherever it was left, by whomever. A step is due once every
process has seen the one before (--settle), and retire once nothing is left of
what the old key made: the last session of a session key, the last leaf of an
authority.

  sp-key        waits twice for the identity provider to fetch the metadata
                again: before switch and before retire. Have it do so, look that
                it shows both certificates, then add --idp-has-new-metadata.
  session-key   retires after the longest life of a session.
  assertion-key waits ten minutes more before each step, for tools to fetch the
                keys from the door again, and retires after the last assertion.
  intermediate  of --side edge or backend, below the same root.
  root          of --side edge or backend, and a new intermediate below it. For
                the edge, give the new root to whoever trusts the old one by hand
                (browsers, machines) between publish and switch: with --settle.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("%d arguments, expected one of sp-key, session-key, assertion-key, intermediate, root", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd, args[0], std)
		},
	}
	flags.add(cmd.Flags(), std)
	cmd.Flags().StringVar(&flags.side, "side", "", "`SIDE` of an intermediate or root: edge (browsers) or backend (sidecars)")
	cmd.Flags().DurationVar(&flags.settle, "settle", 2*time.Minute, "how long every process may take to see a change: twice vault.refresh of --config, if that is longer and this is not given")
	cmd.Flags().DurationVar(&flags.session, "session-absolute", 0, "the longest life of a session; session.absolute of --config, else 10h, if it is 0")
	cmd.Flags().BoolVar(&flags.vouched, "idp-has-new-metadata", false, "the identity provider has fetched the metadata since the last step")
	cmd.Flags().BoolVar(&flags.wait, "wait", false, "go on through the steps, waiting for each")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "only say what comes next")
	return cmd
}

// run does what the flags ask for, and writes each line as it comes: a wait may
// be long.
func (f *rotateFlags) run(cmd *cobra.Command, what string, std stdio) error {
	want, err := f.wants(cmd)
	if err != nil {
		return err
	}
	if f.session == 0 {
		f.session = want.session
	}
	if !cmd.Flags().Changed("settle") {
		f.settle = max(f.settle, 2*want.refresh)
	}
	rotation, err := provision.NewRotation(provision.RotationConfig{
		Spec: want.spec, What: what, Side: f.side, Settle: f.settle, Session: f.session, Vouched: f.vouched,
	})
	if err != nil {
		return usageError{err}
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	tell := func(p provision.Progress) { _, _ = fmt.Fprintln(std.Out, p) }
	switch {
	case f.dryRun:
		var next provision.Progress
		if next, err = rotation.Next(cmd.Context(), client); err == nil {
			tell(next)
		}
	case f.wait:
		err = rotation.Run(cmd.Context(), client, tell)
	default:
		err = rotation.Step(cmd.Context(), client, tell)
	}
	switch {
	case errors.Is(err, context.Canceled): // a signal: no step is lost
		return errors.New("interrupted; the same command goes on")
	case errors.Is(err, provision.ErrUnvouched):
		return &hinted{err, "the last line above says what to do; the rotation goes on where it is"}
	case errors.Is(err, provision.ErrRaced):
		return &hinted{err, "look with --dry-run what comes next"}
	}
	return err
}
