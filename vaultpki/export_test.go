package vaultpki

import (
	"time"

	"github.com/caddyserver/certmagic"
)

// NewKVStorage returns the storage in Vault, for its tests.
func NewKVStorage(client *Client, mount, path string) certmagic.Storage {
	return newKVStorage(client, mount, path)
}

// BePatient has a client of WithToken wait for Vault as one of Login does.
func BePatient(client *Client, wait time.Duration) { client.patience.wait = wait }

// NewMemoryStorage returns the storage in memory, for its tests.
func NewMemoryStorage() certmagic.Storage { return newMemory() }

// Expire has a client certificate that is shown end in the past.
func Expire(s *Shown) {
	leaf := *s.leaf
	leaf.NotAfter = time.Now().Add(-time.Second)
	s.leaf = &leaf
}
