package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/config"
)

// checkCommand validates a file with nobody's help: it runs where a
// configuration is written and reviewed, which is not where Vault is.
func checkCommand(io stdio) *cobra.Command {
	var from string
	var isSidecar, isDriver bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate a configuration file, offline",
		Long: `Validate a configuration file without asking anybody: every fault at once, each
with its line, the value and what was expected, and warnings for what is allowed
but deserves a look. Of a sidecar, the templates in the file are read, too.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "config"); err != nil {
				return err
			}
			if isSidecar && isDriver {
				return usageError{errors.New("both --sidecar and --secret-driver are given, expected one")}
			}
			text, err := source(from).readFile()
			if err != nil {
				return err
			}
			kind := "gateway"
			switch {
			case isSidecar:
				kind = "sidecar"
			case isDriver:
				kind = "secret-driver"
			}
			warnings, needs, err := checkText(from, text, kind)
			if err != nil {
				return suspectKind(err, from, text, kind)
			}
			for _, warning := range warnings {
				_, _ = fmt.Fprintf(io.Out, "warning: %s\n", warning)
			}
			for _, need := range needs {
				_, _ = fmt.Fprintf(io.Out, "needs: %s\n", need)
			}
			_, err = fmt.Fprintf(io.Out, "%s: valid\n", from)
			return err
		},
	}
	cmd.Flags().StringVar(&from, "config", env(io, "", "SALLYPORT_CONFIG"), "`FILE` with the configuration (SALLYPORT_CONFIG)")
	cmd.Flags().BoolVar(&isSidecar, "sidecar", false, "the file configures a sidecar, not a gateway")
	cmd.Flags().BoolVar(&isDriver, "secret-driver", false, "the file configures a secret driver, not a gateway")
	return cmd
}

// suspectKind adds to the faults of a configuration what it may be instead.
func suspectKind(err error, from string, text []byte, kind string) error {
	for other, flag := range map[string]string{"gateway": "without --" + kind, "sidecar": "with --sidecar", "secret-driver": "with --secret-driver"} {
		if other == kind {
			continue
		}
		if _, _, fault := checkText(from, text, other); fault == nil {
			return &hinted{err, fmt.Sprintf("it is a good configuration of a %s: check it %s", other, flag)}
		}
	}
	return err
}

// warner is a configuration that is valid.
type warner interface{ Warnings() []string }

// checkText returns the warnings of a configuration that has no faults, and what it
// needs of the SAML secret for each of several identity providers.
func checkText(from string, text []byte, kind string) (warnings, needs []string, err error) {
	var cfg warner
	switch kind {
	case "sidecar":
		var sidecar *config.Sidecar
		if sidecar, err = config.LoadSidecar(from, text); err == nil {
			cfg, err = sidecar, checkTemplates(sidecar)
		}
	case "secret-driver":
		cfg, err = config.LoadSecretDriver(from, text)
	default:
		var gateway *config.Gateway
		if gateway, err = loadGateway(from, text); err == nil {
			cfg, needs = gateway, append(needsOf(gateway), credentialNeeds(gateway)...)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return cfg.Warnings(), needs, nil
}

// needsOf says, for each identity provider that has a name, where its metadata comes
// from: with several, a field is easily forgotten.
func needsOf(cfg *config.Gateway) []string {
	var needs []string
	if len(cfg.SAML.IdPs) == 0 {
		return nil
	}
	for _, idp := range cfg.SAML.Providers() {
		secret := cfg.Vault.KVMount + "/" + cfg.Vault.SAMLPath
		switch {
		case idp.MetadataURL == "":
			needs = append(needs, fmt.Sprintf("identity provider %s: field %s of %s", idp.Name, fieldOf(fieldIdPMetadata, idp.Name), secret))
		case idp.UnsafeMetadataUnsigned:
			needs = append(needs, fmt.Sprintf("identity provider %s: an answer from %s", idp.Name, idp.MetadataURL))
		default:
			needs = append(needs, fmt.Sprintf("identity provider %s: an answer from %s, signed as field %s of %s says", idp.Name, idp.MetadataURL, fieldOf(fieldIdPSigner, idp.Name), secret))
		}
	}
	return needs
}
