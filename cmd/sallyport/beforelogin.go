package main

import (
	"github.com/sallyport/sallyport/config"
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
