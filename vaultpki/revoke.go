package vaultpki

import (
	"context"
	"encoding/pem"
	"errors"
	"slices"
	"sync"
	"time"
)

// revokeBound is how much a revocation may delay a stop.
const revokeBound = 5 * time.Second

// checkRevocation says at the start if revoking at the end will not work: the
// moment to grant what is missing is now.
func (c *Certificates) checkRevocation(ctx context.Context) {
	path := c.cfg.Mount + "/revoke"
	ctx, cancel := context.WithTimeout(ctx, revokeBound)
	defer cancel()
	secret, err := c.cfg.Client.write(ctx, "sys/capabilities-self", map[string]any{"paths": []string{path}})
	if err == nil && secret != nil {
		capabilities, _ := secret.Data[path].([]any)
		if slices.Contains(capabilities, any("update")) || slices.Contains(capabilities, any("root")) {
			return
		}
		err = errors.New("the token's policies do not allow it")
	}
	if err == nil {
		err = errors.New("vault's answer is empty")
	}
	c.cfg.Log.Warn("certificates will not be revoked on stop, or so it seems", "path", path, "cause", causeOf(err))
}

// revokeAll revokes the certificates in use, each shown to Vault as a whole: so
// it is found where the PKI role stores none, and the key stays here. What fails
// is told of; nothing waits for it for long.
func (c *Certificates) revokeAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeBound)
	defer cancel()
	var group sync.WaitGroup
	for _, h := range c.all() {
		chain := c.chain(h.name)
		if chain == nil || time.Now().After(chain[0].NotAfter) {
			continue
		}
		group.Go(func() {
			text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[0].Raw}))
			err := c.place(ctx, func() error {
				_, err := c.cfg.Client.write(ctx, c.cfg.Mount+"/revoke", map[string]any{"certificate": text})
				return err
			})
			if err != nil {
				c.cfg.Log.Warn("revoking the certificate did not succeed", "name", h.name, "serial", serialOf(chain[0]), "cause", causeOf(err))
				return
			}
			c.cfg.Log.Info("certificate revoked", "name", h.name, "serial", serialOf(chain[0]))
		})
	}
	group.Wait() // ends with ctx at the latest
}
