package main

import (
	"context"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/vaultpki"
)

// Fields of the secret of pseudonyms: what is recorded is made with the first; what was
// recorded before a rotation, with the second.
const (
	fieldPseudonymKey         = "pseudonym_key"
	fieldPseudonymKeyPrevious = "pseudonym_key_previous"
)

// firstPseudonyms has the access log call people by pseudonyms from now on, if the
// configuration says so. Without the key nothing is recorded, and so nobody is let in.
func (g *liveGateway) firstPseudonyms(ctx context.Context, cfg *config.Gateway) error {
	if !cfg.AccessLog.Pseudonymise {
		return nil
	}
	kv, err := g.client.ReadKV(ctx, cfg.Vault.KVMount, cfg.Vault.AuditPath)
	if err != nil {
		return err
	}
	if err := g.usePseudonyms(ctx, kv); err != nil {
		return err
	}
	g.log.Info("key of pseudonyms read", "path", kv.Mount+"/"+kv.Path, "version", kv.Version)
	return nil
}

// usePseudonyms puts a version of the key in use.
func (g *liveGateway) usePseudonyms(_ context.Context, kv vaultpki.KV) error {
	text, err := kv.Field(fieldPseudonymKey)
	if err != nil {
		return err
	}
	key, err := decodeKey(kv, fieldPseudonymKey, text)
	if err != nil {
		return err
	}
	names, err := accesslog.NewPseudonyms(key)
	if err != nil {
		return err
	}
	g.access.Pseudonymise(names)
	g.pseudonyms = kv
	return nil
}

// followPseudonyms keeps the key fresh; nil if there is none.
func (g *liveGateway) followPseudonyms(w watcher) []followed {
	if g.pseudonyms.Version == 0 {
		return nil
	}
	return []followed{w.secret(objectPseudonymKey, func() vaultpki.KV { return g.pseudonyms }, g.usePseudonyms)}
}
