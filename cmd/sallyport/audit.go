package main

import (
	"github.com/spf13/cobra"
)

// auditCommand reads the access log back.
func auditCommand(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Ask the access log who has done what",
	}
	cmd.AddCommand(verifyCommand(std), auditKeysCommand(std))
	demandAction(cmd)
	return cmd
}
