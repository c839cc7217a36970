package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/config"
)

// checkCommand validates a file with nobody's help: it runs where a
// configuration is written and reviewed, which is not where Vault is.
func checkCommand(io stdio) *cobra.Command {
	var from string
	var isSidecar bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate a configuration file, offline",
		Long: `Validate a configuration file without asking anybody: every fault at once, each
with its line, the value and what was expected, and warnings for what is allowed
but deserves a look.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "config"); err != nil {
				return err
			}
			text, err := source(from).readFile()
			if err != nil {
				return err
			}
			warnings, err := checkText(from, text, isSidecar)
			if err != nil {
				return err
			}
			for _, warning := range warnings {
				_, _ = fmt.Fprintf(io.Out, "warning: %s\n", warning)
			}
			_, err = fmt.Fprintf(io.Out, "%s: valid\n", from)
			return err
		},
	}
	cmd.Flags().StringVar(&from, "config", env(io, "", "SALLYPORT_CONFIG"), "`FILE` with the configuration (SALLYPORT_CONFIG)")
	cmd.Flags().BoolVar(&isSidecar, "sidecar", false, "the file configures a sidecar, not a gateway")
	return cmd
}

// checkText returns the warnings of a configuration that has no faults.
func checkText(from string, text []byte, isSidecar bool) ([]string, error) {
	if isSidecar {
		cfg, err := config.LoadSidecar(from, text)
		if err != nil {
			return nil, err
		}
		return cfg.Warnings(), nil
	}
	cfg, err := config.LoadGateway(from, text)
	if err != nil {
		return nil, err
	}
	return cfg.Warnings(), nil
}
