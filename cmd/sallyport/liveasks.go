package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/sallyport/sallyport/config"
)

// errNobodyAsks is the answer to whoever asks and may not.
var errNobodyAsks = errors.New("asking who may pass: neither a certificate nor the address is one of forward_auth")

// asks returns how to tell, for each question, whether whoever asks may, and who that
// is: by the certificate of the connection, judged anew, since a connection may be
// older than what is allowed now; else by the address, if that is enough.
func (g *liveGateway) asks(allowed config.ForwardAuth) func(*http.Request) (string, error) {
	prefixes := allowed.Prefixes()
	return func(r *http.Request) (string, error) {
		if r.TLS == nil {
			return "", errNobodyAsks
		}
		if len(r.TLS.PeerCertificates) > 0 {
			return g.backend.Admit(*r.TLS, allowed.Peers)
		}
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return "", fmt.Errorf("reading the address of whoever asks: %w", err)
		}
		address := from.Addr().Unmap()
		if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(address) }) {
			return address.String(), nil
		}
		return "", errNobodyAsks
	}
}

// askTLS is the configuration of the listener for an ingress: the door's certificate,
// which it knows already, and a client certificate of backend_pki, which is demanded
// unless some may ask by their address alone. It is the one in use at each handshake.
func (g *liveGateway) askTLS() *tls.Config {
	edge := g.edge.EdgeTLS()
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			allowed := g.current.Load().cfg.ForwardAuth
			guard := g.backend.GuardTLS(allowed.Peers)
			if guard.GetConfigForClient != nil { // crypto/tls asks once, and not what it is answered
				var err error
				if guard, err = guard.GetConfigForClient(hello); err != nil {
					return nil, err
				}
			}
			guard.GetCertificate = edge.GetCertificate
			if len(allowed.UnsafeAddresses) > 0 {
				admit := guard.VerifyConnection
				guard.ClientAuth = tls.VerifyClientCertIfGiven
				guard.VerifyConnection = func(cs tls.ConnectionState) error {
					if len(cs.PeerCertificates) == 0 {
						return nil // each question is held to its address
					}
					return admit(cs)
				}
			}
			return guard, nil
		},
	}
}
