package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/vaultpki"
)

// lastCheckpoint is how long a stop waits for Vault to sign the end of the access log.
const lastCheckpoint = 5 * time.Second

// newCheckpointer makes what has the access log signed, or nil if the configuration
// has no key for it. Vault is not asked.
func newCheckpointer(cfg config.Checkpoints, log *slog.Logger) (*checkpoint.Checkpointer, error) {
	if !cfg.On() {
		log.Warn("access log is not signed: it is a chain alone, which whoever can write to it could make anew", "key", "access_log.checkpoints.key")
		return nil, nil //nolint:nilnil // said above
	}
	return checkpoint.New(checkpoint.Config{
		Every: cfg.Every.Duration, Records: uint64(cfg.Records), //nolint:gosec // validated
		SignerName: "transit/" + cfg.Mount + "/" + cfg.Key, Log: log,
	})
}

// vaultOf is what checkpoints need of Vault.
func vaultOf(client *vaultpki.Client, kvMount string, cfg config.Checkpoints) (checkpoint.Vault, error) {
	key, err := vaultpki.NewTransitKey(client, cfg.Mount, cfg.Key)
	if err != nil {
		return checkpoint.Vault{}, err
	}
	board, err := vaultpki.NewBoard(client, kvMount, cfg.Path)
	if err != nil {
		return checkpoint.Vault{}, err
	}
	signer := transitSigner{key, cfg.Mount, cfg.Key}
	return checkpoint.Vault{Signer: signer, Board: vaultBoard{board}, Keys: signer.keys}, nil
}

// transitSigner names versions of a transit key as checkpoints do.
type transitSigner struct {
	key         *vaultpki.TransitKey
	mount, name string
}

// Sign implements [checkpoint.Signer].
func (s transitSigner) Sign(ctx context.Context, message func(key string) []byte) (key string, signature []byte, err error) {
	version, signature, err := s.key.Sign(ctx, func(version int) []byte { return message(checkpoint.KeyID(s.mount, s.name, version)) })
	return checkpoint.KeyID(s.mount, s.name, version), signature, err
}

// keys reads the public keys of all versions.
func (s transitSigner) keys(ctx context.Context) (checkpoint.Keys, error) {
	texts, err := s.key.PublicKeys(ctx)
	if err != nil {
		return nil, err
	}
	keys := checkpoint.Keys{}
	for version, text := range texts {
		if keys[checkpoint.KeyID(s.mount, s.name, version)], err = checkpoint.ParseKey(text); err != nil {
			return nil, fmt.Errorf("reading version %d of %s/%s: %w", version, s.mount, s.name, err)
		}
	}
	return keys, nil
}

// vaultBoard reads fields as checkpoints do.
type vaultBoard struct{ *vaultpki.Board }

// Get implements [checkpoint.Board].
func (b vaultBoard) Get(ctx context.Context, name string) (checkpoint.Entry, error) {
	kv, err := b.Board.Get(ctx, name)
	return entryOf(kv), err
}

// Versions implements [checkpoint.History].
func (b vaultBoard) Versions(ctx context.Context, name string) ([]checkpoint.Entry, error) {
	versions, err := b.Board.Versions(ctx, name)
	var all []checkpoint.Entry
	for _, kv := range versions {
		all = append(all, entryOf(kv))
	}
	return all, err
}

func entryOf(kv vaultpki.KV) checkpoint.Entry {
	return checkpoint.Entry{Written: kv.Created, Field: func(name string) string {
		value, _ := kv.Optional(name)
		return value
	}}
}

// signedLog is an access log as a checkpointer sees it.
type signedLog struct{ *accesslog.Log }

// Head implements [checkpoint.Log].
func (l signedLog) Head() (checkpoint.Head, bool) {
	head := l.Log.Head()
	h, err := checkpoint.HeadOf(head.Instance, head.Sequence, head.Hash)
	return h, err == nil // without a record there is no sequence number
}

// checkpoints are those of one process: what makes them, and what that needs.
type checkpoints struct {
	maker *checkpoint.Checkpointer // nil: there are none
	vault checkpoint.Vault
	log   signedLog
}

// by has a Vault that is logged in to sign.
func (c *checkpoints) by(client *vaultpki.Client, cfg *config.Gateway, access *accesslog.Log) (err error) {
	if c.maker == nil {
		return nil
	}
	c.log = signedLog{access}
	c.vault, err = vaultOf(client, cfg.Vault.KVMount, cfg.AccessLog.Checkpoints)
	return err
}

// run makes checkpoints until ctx ends.
func (c *checkpoints) run(ctx context.Context) error {
	if c.maker == nil {
		return nil
	}
	return c.maker.Run(ctx, c.vault, c.log)
}

// end has Vault sign the last record, after the log is closed.
func (c *checkpoints) end(ctx context.Context) {
	if c.maker == nil || c.vault.Signer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCheckpoint)
	defer cancel()
	c.maker.Final(ctx, c.vault, c.log)
}
