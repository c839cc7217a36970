package relay

import (
	"crypto/x509"
	"sync/atomic"
)

// Serials writes serial numbers of certificates as Vault does, and remembers the last one:
// requests come one after the other on the same connection. The zero value is ready. It is
// safe for concurrent use.
type Serials struct {
	last atomic.Pointer[knownSerial]
}

type knownSerial struct {
	certificate *x509.Certificate
	text        string
}

// Of returns the serial number of the first certificate of a chain, or "" for none.
func (s *Serials) Of(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	if known := s.last.Load(); known != nil && known.certificate == chain[0] {
		return known.text
	}
	known := &knownSerial{chain[0], Serial(chain[0])}
	s.last.Store(known)
	return known.text
}

// Serial is the serial number of a certificate: pairs of hexadecimal digits with colons
// between them.
func Serial(certificate *x509.Certificate) string {
	const digits = "0123456789abcdef"
	if certificate.SerialNumber == nil { // of a certificate that nobody has parsed
		return ""
	}
	octets := certificate.SerialNumber.Bytes()
	text := make([]byte, 0, 3*len(octets))
	for i, octet := range octets {
		if i > 0 {
			text = append(text, ':')
		}
		text = append(text, digits[octet>>4], digits[octet&15])
	}
	return string(text)
}
