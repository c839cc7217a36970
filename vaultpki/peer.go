package vaultpki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Bounds of a SPIFFE ID, SPIFFE-ID section 2.3.
const (
	longestSPIFFE      = 2048
	longestTrustDomain = 255
	longestDNSName     = 253
)

var (
	// dnsName is a lower-case DNS name of one label or more, without a wildcard.
	dnsName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// spiffeID is spiffe://TRUST-DOMAIN/SEGMENT/...: no port, no user, no query,
	// no fragment, no percent-encoding, no empty segment.
	spiffeID = regexp.MustCompile(`^spiffe://([a-z0-9._-]+)((?:/[A-Za-z0-9._-]+)+)$`)
)

// isSPIFFE says whether a name is meant as a SPIFFE ID.
func isSPIFFE(name string) bool { return strings.HasPrefix(name, "spiffe:") }

// checkName accepts what a certificate of this package may be for.
func checkName(name string) error {
	switch {
	case isSPIFFE(name):
		return checkSPIFFE(name)
	case len(name) > longestDNSName || !dnsName.MatchString(name):
		return fmt.Errorf("name %q: expected a lower-case DNS name without a wildcard, or a SPIFFE ID", name)
	}
	return nil
}

// checkSPIFFE accepts the SPIFFE ID of a workload: one with a path.
func checkSPIFFE(id string) error {
	parts := spiffeID.FindStringSubmatch(id)
	if len(id) > longestSPIFFE || parts == nil || len(parts[1]) > longestTrustDomain {
		return fmt.Errorf("name %q: expected a SPIFFE ID such as spiffe://example.com/gateway", id)
	}
	for segment := range strings.SplitSeq(parts[2], "/") {
		if segment == "." || segment == ".." {
			return fmt.Errorf("name %q: expected a SPIFFE ID without dots for segments", id)
		}
	}
	return nil
}

// wildcard begins a name that stands for hosts of one more label.
const wildcard = "*."

// checkNames accepts the names that certificates of cfg may be for.
func (cfg *CertificatesConfig) checkNames(names []string) error {
	faults := []error{checkNameList(names, cfg.Usage)}
	for _, name := range names {
		if cfg.ACME != nil && strings.HasPrefix(name, wildcard) {
			faults = append(faults, fmt.Errorf("name %q: expected no wildcard beside acme, whose challenges prove single hosts", name))
		}
	}
	return errors.Join(faults...)
}

// checkNameList accepts the names that certificates of one usage may be for.
func checkNameList(names []string, usage Usage) error {
	var faults []error
	if len(names) == 0 || (usage == ClientUsage && len(names) > 1) {
		faults = append(faults, fmt.Errorf("names %q: expected at least one, and for a client just one", names))
	}
	for i, name := range names {
		parent, wild := strings.CutPrefix(name, wildcard)
		if !wild || usage != ServerUsage || !strings.Contains(parent, ".") || isSPIFFE(parent) {
			parent = name
		}
		faults = append(faults, checkName(parent))
		if slices.Index(names, name) < i {
			faults = append(faults, fmt.Errorf("name %q: expected each name once", name))
		}
		if isSPIFFE(name) && len(names) > 1 {
			// A handshake cannot ask for it, so nothing could choose between two.
			faults = append(faults, fmt.Errorf("name %q: expected a SPIFFE ID to be the only name", name))
		}
	}
	return errors.Join(faults...)
}

// sameName compares a peer's name with one that is allowed. DNS names have no
// case; paths of SPIFFE IDs do.
func sameName(allowed, name string) bool {
	if isSPIFFE(allowed) {
		return allowed == name
	}
	return strings.EqualFold(allowed, name)
}

// soleName returns a certificate's one name: its DNS name in lower case, or its
// SPIFFE ID. A certificate of several names would be several peers.
func soleName(leaf *x509.Certificate) (string, error) {
	dns, uris := len(leaf.DNSNames), len(leaf.URIs)
	others := len(leaf.IPAddresses) + len(leaf.EmailAddresses)
	if dns+uris != 1 || others > 0 {
		return "", fmt.Errorf("the certificate has DNS names %q, URIs %q and %d names of other kinds, expected one DNS name or one SPIFFE ID",
			leaf.DNSNames, leaf.URIs, others)
	}
	if uris == 1 {
		id := leaf.URIs[0].String()
		if !isSPIFFE(id) {
			return "", fmt.Errorf("the certificate's name %q is no SPIFFE ID", id)
		}
		return id, checkSPIFFE(id)
	}
	// What kind of name it is, the certificate says, and never its spelling: a DNS
	// name must not be taken for a SPIFFE ID.
	name := strings.ToLower(leaf.DNSNames[0])
	if len(name) > longestDNSName || !dnsName.MatchString(name) {
		return "", fmt.Errorf("the certificate's name %q is no DNS name, or a wildcard", name)
	}
	return name, nil
}

// nameOf returns the first name of a request; certmagic asks for one at a time.
func nameOf(request *x509.CertificateRequest) string {
	switch {
	case len(request.DNSNames) > 0:
		return request.DNSNames[0]
	case len(request.URIs) > 0:
		return request.URIs[0].String()
	}
	return ""
}
