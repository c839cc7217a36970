package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce"
)

// introduceCommand is for whoever starts a process, and needs a token that can do
// just this: the policy sallyport-introducer.
func introduceCommand(io stdio) *cobra.Command {
	var operator operatorFlags
	var role, file string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "introduce",
		Short: "Mint a wrapping token for one start of one role",
		Long: `Mint a response-wrapped, single-use SecretID of one AppRole, and print the
wrapping token, or write it to a file that only its owner reads. Whoever unwraps
it first can log in as that role, once; a process that finds it used raises the
interception alarm.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "role", "vault-addr"); err != nil {
				return err
			}
			token, err := operator.token()
			if err != nil {
				return err
			}
			wrapped, err := introduce.Mint(cmd.Context(), introduce.Config{
				Server: operator.server(), Token: token,
				Minting: vaultpki.Minting{AuthMount: operator.authMount, Role: role, WrapTTL: ttl},
			})
			if err != nil {
				return err
			}
			return deliver(io, file, wrapped)
		},
	}
	operator.add(cmd.Flags(), io)
	cmd.Flags().StringVar(&role, "role", "", "`NAME` of the AppRole to introduce")
	cmd.Flags().DurationVar(&ttl, "wrap-ttl", 5*time.Minute, "how long the token may wait to be used")
	cmd.Flags().StringVar(&file, "file", "", "write the token to `FILE`, mode 0600, instead of standard output")
	return cmd
}

// deliver prints the wrapping token alone on standard output, so that it can be
// piped, or writes it to a file.
func deliver(io stdio, file string, wrapped vaultpki.Wrapped) error {
	if file == "" {
		_, err := fmt.Fprintln(io.Out, wrapped.Token)
		return err
	}
	if err := writeSecretFile(file, wrapped.Token+"\n"); err != nil {
		return &hinted{err, fmt.Sprintf("nothing was delivered; the token ends by itself in %s, or revoke its accessor %s", wrapped.TTL, wrapped.Accessor)}
	}
	_, err := fmt.Fprintf(io.Err, "wrapping token written to %s: use it within %s (accessor %s)\n", file, wrapped.TTL, wrapped.Accessor)
	return err
}

// writeSecretFile replaces file in one step; at no time does anybody but its
// owner see the content.
func writeSecretFile(file, content string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".sallyport-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	_, err = tmp.WriteString(content)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", file, err), os.Remove(tmp.Name()))
	}
	return nil
}
