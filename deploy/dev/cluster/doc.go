// Package cluster holds no program: its tests take the Vault cluster of
// deploy/vault the way that its README describes, with that folder's own scripts
// and configuration, three real nodes on loopback and three operators with PGP keys
// of their own.
//
// They need gpg and openssl; `make test` installs both where they are missing.
package cluster
