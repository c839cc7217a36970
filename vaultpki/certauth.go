package vaultpki

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Cert logs in with the client certificate of [Server], which must be given. Its
// files are read again for each connection. Vault renews a token for a later
// certificate of the same authority; one of another authority, if Vault accepts
// it, leads to a new login by itself.
type Cert struct {
	// Mount is the mount of the TLS certificate method; default "cert".
	Mount string
	// Role is the name of the certificate role; default any that fits.
	Role string
}

// Name implements [Method].
func (Cert) Name() string { return "cert" }

func (m Cert) check(server Server) (Method, error) {
	if m.Mount == "" {
		m.Mount = m.Name()
	}
	var faults []error
	if err := wire.CheckPath(m.Mount); err != nil {
		faults = append(faults, fmt.Errorf("auth mount: %w", err))
	}
	if m.Role != "" && wire.CheckName(m.Role) != nil {
		faults = append(faults, fmt.Errorf("role %q: expected the name of a certificate role", m.Role))
	}
	if server.CertFile == "" || server.KeyFile == "" {
		faults = append(faults, errors.New("client certificate: expected a certificate file and a key file to log in with"))
	}
	return m, errors.Join(faults...)
}

func (m Cert) open(d *desk) (*credential, error) {
	login := func(ctx context.Context) (grant, error) {
		body := map[string]string{}
		if m.Role != "" {
			body["name"] = m.Role
		}
		// A connection from before may show an older certificate.
		d.wire.CloseIdle()
		return d.present(ctx, m.Mount, body, false)
	}
	return &credential{login: login, file: d.cfg.CertFile, again: true}, nil
}
