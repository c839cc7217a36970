package main

import (
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
	"github.com/sallyport/sallyport/proxy/sidecar/supervise"
)

// checkBeforeLogin finds what would end a sidecar's start later, when its introduction is
// used up: an application that can be reached past it or is not there, and templates,
// owners and folders of secrets.
func checkBeforeLogin(cfg *config.Sidecar, command []string) error {
	if err := checkAppBind(cfg); err != nil {
		return err
	}
	if len(command) > 0 {
		if err := supervise.CheckCommand(command); err != nil {
			return err
		}
	}
	return checkAppSecrets(cfg, len(command) > 0)
}

// checkTemplates finds every template of a configuration that cannot be read. Those that
// are in files of their own are on the machine where the sidecar runs.
func checkTemplates(cfg *config.Sidecar) error {
	var faults []error
	check := func(name, text string) { faults = append(faults, secrets.CheckTemplate(name, text)) }
	for i, file := range cfg.Secrets.Files {
		if file.TemplateFile == "" {
			check(fmt.Sprintf("secrets.files[%d].template", i), file.Template)
		}
	}
	for _, variable := range cfg.Secrets.Env {
		check("environment variable "+variable.Name, variable.Template)
	}
	if cfg.Secrets.HasStdin() {
		check("standard input", cfg.Secrets.Stdin)
	}
	if err := errors.Join(faults...); err != nil {
		return usageError{&appSecretsError{err}}
	}
	return nil
}
