package config

import (
	"regexp"
	"strings"
)

// Peer is what a certificate between our own parts is for: a DNS name as [Host]
// describes it, or the SPIFFE ID of a workload, such as
// "spiffe://example.com/gateway".
//
// The zero value means that no name was given.
type Peer string

// Bounds of a SPIFFE ID, SPIFFE-ID section 2.3.
const (
	maxSPIFFELength = 2048
	maxTrustDomain  = 255
)

// spiffeText leaves no room for a port, user information, a query, a fragment,
// percent-encoding or an empty segment.
var spiffeText = regexp.MustCompile(`^spiffe://([a-z0-9._-]+)((/[A-Za-z0-9._-]+)+)$`)

// UnmarshalText accepts exactly the names that [Peer] describes.
func (p *Peer) UnmarshalText(text []byte) error {
	name := string(text)
	if expected := judgePeer(name); expected != "" {
		return &mismatch{value: name, expected: expected}
	}
	*p = Peer(name)
	return nil
}

// judgePeer returns what was expected instead of name, or "" if name is a peer.
func judgePeer(name string) string {
	if strings.HasPrefix(strings.ToLower(name), "spiffe:") {
		return judgeSPIFFE(name)
	}
	return judgeHost(name)
}

func judgeSPIFFE(id string) string {
	const expected = "a SPIFFE ID such as spiffe://example.com/gateway"
	parts := spiffeText.FindStringSubmatch(id)
	switch {
	case len(id) > maxSPIFFELength:
		return expected + ", of at most 2048 characters"
	case parts == nil:
		return expected + ": a trust domain of a-z, 0-9 and . _ -, and a path with segments of letters, digits and . _ -"
	case len(parts[1]) > maxTrustDomain:
		return expected + ", with a trust domain of at most 255 characters"
	}
	for segment := range strings.SplitSeq(parts[2], "/") {
		if segment == "." || segment == ".." {
			return expected + ", without the segments . and .."
		}
	}
	return ""
}

// Label returns the short form of the name, which the sidecar's PKI role is
// called by: the first label of a DNS name, the last segment of a SPIFFE ID.
func (p Peer) Label() string {
	if id := string(p); strings.HasPrefix(id, "spiffe:") {
		return id[strings.LastIndexByte(id, '/')+1:]
	}
	label, _, _ := strings.Cut(string(p), ".")
	return label
}
