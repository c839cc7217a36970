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
	var isSidecar, isDriver, elsewhere bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate a configuration file, offline",
		Long: `Validate a configuration file without asking anybody: every fault at once, each
with its line, the value and what was expected, and warnings for what is allowed
but deserves a look. The templates of a sidecar's secrets are read, too: their
syntax, and the names of the functions in them.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "config"); err != nil {
				return err
			}
			if isSidecar && isDriver {
				return usageError{errors.New("both --sidecar and --secret-driver are given, expected one")}
			}
			if elsewhere && !isSidecar {
				return usageError{errors.New("--templates-elsewhere is given without --sidecar: nothing else has templates")}
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
			c := checked{from, text, elsewhere}
			warnings, needs, err := c.as(kind)
			if err != nil {
				return c.suspectKind(err, kind)
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
	cmd.Flags().BoolVar(&elsewhere, "templates-elsewhere", false, "the files that template_file names are on another machine: say which, and do not read them")
	cmd.Flags().BoolVar(&isDriver, "secret-driver", false, "the file configures a secret driver, not a gateway")
	return cmd
}

// checked is a file that is validated. elsewhere says that template files are not here.
type checked struct {
	from      string
	text      []byte
	elsewhere bool
}

// suspectKind adds to the faults of a configuration what it may be instead.
func (c checked) suspectKind(err error, kind string) error {
	for other, flag := range map[string]string{"gateway": "without --" + kind, "sidecar": "with --sidecar", "secret-driver": "with --secret-driver"} {
		if other == kind {
			continue
		}
		if _, _, fault := c.as(other); fault == nil {
			return &hinted{err, fmt.Sprintf("it is a good configuration of a %s: check it %s", other, flag)}
		}
	}
	return err
}

// warner is a configuration that is valid.
type warner interface{ Warnings() []string }

// as returns the warnings of a configuration that has no faults, and what it needs: of the
// SAML secret for each of several identity providers, or of another machine.
func (c checked) as(kind string) (warnings, needs []string, err error) {
	var cfg warner
	switch kind {
	case "sidecar":
		cfg, needs, err = c.asSidecar()
	case "secret-driver":
		cfg, err = config.LoadSecretDriver(c.from, c.text)
	default:
		var gateway *config.Gateway
		if gateway, err = loadGateway(c.from, c.text); err == nil {
			cfg, needs = gateway, append(needsOf(gateway), credentialNeeds(gateway)...)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return cfg.Warnings(), needs, nil
}

// asSidecar reads the templates that are here, and names those that are not.
func (c checked) asSidecar() (cfg *config.Sidecar, needs []string, err error) {
	if !c.elsewhere {
		cfg, err = config.LoadSidecar(c.from, c.text, templatesAreGood)
		return cfg, nil, err
	}
	cfg, err = config.LoadSidecar(c.from, c.text, inlineTemplatesAreGood)
	if err != nil {
		return nil, nil, err
	}
	for _, file := range cfg.Secrets.Files {
		if file.TemplateFile != "" {
			needs = append(needs, fmt.Sprintf("file %s: the template of %s", file.TemplateFile, file.Path))
		}
	}
	return cfg, needs, nil
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
