package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxPublicFile bounds a file that a configuration names.
const maxPublicFile = 1 << 20

// readPublicFile reads a file that is not secret and that somebody else names: a
// regular one, of a size that is bounded. Opening a FIFO would wait for ever, and a
// device or a pipe of our own has no end.
func readPublicFile(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("opening %s: expected a regular file, found mode %s", name, info.Mode())
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("reading %s: more than %d bytes", name, limit)
	}
	return text, err
}

// readAuthorities reads a PEM file of certificates to trust, which the key of a
// configuration names.
func readAuthorities(key, file string) (*x509.CertPool, error) {
	text, err := readPublicFile(file, maxPublicFile)
	if err != nil {
		return nil, &hinted{fmt.Errorf("reading %s: %w", key, err), "name a PEM file that this process may read, or the public authorities"}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &hinted{fmt.Errorf("reading %s %q: expected PEM certificates, found none", key, file), "name a PEM file with the authority of that server's certificate"}
	}
	return pool, nil
}
