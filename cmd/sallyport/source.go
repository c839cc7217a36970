package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sallyport/sallyport/vaultpki"
)

// vaultScheme begins a --config that is a place in Vault rather than a file.
const vaultScheme = "vault:"

// configField is the field of a KV secret that holds a configuration.
const configField = "config"

// maxConfig is more than any honest configuration has; config has a limit of
// its own below it.
const maxConfig = 4 << 20

// source is where a configuration comes from.
type source string

func (s source) inVault() bool { return strings.HasPrefix(string(s), vaultScheme) }

// readFile returns the text of a configuration file, for a command that begins.
func (s source) readFile() ([]byte, error) {
	text, err := s.rereadFile()
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, &hinted{usageError{err}, fmt.Sprintf("let user %d, as whom this process runs, read it: nothing in it is secret", os.Geteuid())}
	}
	return nil, usageError{err}
}

// rereadFile is readFile for a process that runs.
func (s source) rereadFile() ([]byte, error) {
	if s.inVault() {
		return nil, fmt.Errorf("configuration %q is in Vault, expected a file", string(s))
	}
	text, err := readPublicFile(string(s), maxConfig)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return text, nil
}

// place returns where in Vault a configuration is, "vault:MOUNT/PATH".
func (s source) place() (mount, path string, err error) {
	mount, path, _ = strings.Cut(strings.TrimPrefix(string(s), vaultScheme), "/")
	if mount == "" || path == "" {
		return "", "", usageError{fmt.Errorf("configuration %q: expected vault:MOUNT/PATH, such as vault:secret/sallyport/gateway", string(s))}
	}
	return mount, path, nil
}

// loaded is a configuration, and what it was read from.
type loaded[T any] struct {
	cfg  *T
	text []byte
	kv   vaultpki.KV // the secret that holds it; the zero KV if a file does
}

// loadConfig reads and checks a configuration. A file is read before Vault is
// asked for anything, so that a typo costs no introduction; login is called in
// between, and once.
func loadConfig[T any](
	ctx context.Context, s source, parse func(string, []byte) (*T, error), login func() (*vaultpki.Client, error),
) (from loaded[T], client *vaultpki.Client, err error) {
	if s.inVault() {
		return loadVault(ctx, s, parse, login)
	}
	if from.text, err = s.readFile(); err != nil {
		return from, nil, err
	}
	if from.cfg, err = parse(string(s), from.text); err != nil {
		return from, nil, err
	}
	client, err = login()
	return from, client, err
}

// loadVault is loadConfig for a configuration that only Vault has.
func loadVault[T any](
	ctx context.Context, s source, parse func(string, []byte) (*T, error), login func() (*vaultpki.Client, error),
) (from loaded[T], client *vaultpki.Client, err error) {
	mount, path, err := s.place()
	if err != nil {
		return from, nil, err
	}
	if client, err = login(); err != nil {
		return from, nil, err
	}
	if from.kv, err = client.ReadKV(ctx, mount, path); err != nil {
		return from, nil, err
	}
	text, err := from.kv.Field(configField)
	if err != nil {
		return from, nil, err
	}
	from.text = []byte(text)
	from.cfg, err = parse(string(s), from.text)
	return from, client, err
}
