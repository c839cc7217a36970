package vaultpki

import "github.com/caddyserver/certmagic"

// NewKVStorage returns the storage in Vault, for its tests.
func NewKVStorage(client *Client, mount, path string) certmagic.Storage {
	return newKVStorage(client, mount, path)
}

// NewMemoryStorage returns the storage in memory, for its tests.
func NewMemoryStorage() certmagic.Storage { return newMemory() }
