package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// commands are the subcommands, in the order of the help.
var commands = [...]func(io stdio) *cobra.Command{
	gatewayCommand,
	sidecarCommand,
	introduceCommand,
	provisionCommand,
	checkCommand,
	healthCommand,
	versionCommand,
}

// run runs one command line and returns the exit code.
func run(ctx context.Context, args []string, io stdio) int {
	root := &cobra.Command{
		Use:           "sallyport",
		Short:         "One front door for internal tools: SAML in front, mutual TLS behind, Vault underneath",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q, expected one of those that `sallyport help` lists", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetArgs(args)
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, command := range commands {
		root.AddCommand(command(io))
	}
	command, err := root.ExecuteContextC(ctx)
	if err != nil {
		explain(io.Err, command.CommandPath(), err)
	}
	return exitCode(err)
}

// noArgs refuses arguments, naming the first.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q, expected none", args[0])}
	}
	return nil
}
