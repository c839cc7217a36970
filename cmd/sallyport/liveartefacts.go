package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/saml"
)

// artefacts are what signing on lives from.
func (g *liveGateway) artefacts() []artefact {
	now := g.current.Load()
	all := []artefact{{
		Kind: kindSPCertificate, Name: fingerprintOf(now.own), Since: now.own.NotBefore, Until: now.own.NotAfter,
	}}
	for _, idp := range now.idps {
		prefix, stops := "", signOnStops
		if len(now.idps) > 1 {
			prefix, stops = idp.Name+" ", signOnStops+" with "+idp.Name
		}
		if idp.provider == nil {
			all = append(all, artefact{Kind: kindIdPMetadata, Name: idp.Name, Stops: stops, Fault: "it is out: " + idp.fault.Error()})
			continue
		}
		info := idp.provider.IdP()
		all = append(all, metadataArtefact(info, prefix, stops, now.since, now.metadata[idp.Name] != nil)...)
		all = append(all, certificateArtefacts(info.Certificates, prefix, stops)...)
	}
	return append(all, g.certificates.artefacts()...)
}

// metadataArtefact is an identity provider's metadata, if it has an end, or if
// something is to be said of it.
func metadataArtefact(info saml.IdPInfo, prefix, stops string, since time.Time, renews bool) []artefact {
	a := artefact{Kind: kindIdPMetadata, Name: prefix + info.EntityID, Since: since, Renews: renews}
	if len(info.UnusedPins) > 0 {
		a.Note = "no certificate has the pinned key " + strings.Join(info.UnusedPins, ", ")
	}
	if !info.ValidUntil.IsZero() {
		a.Until, a.Stops, a.Hard = info.ValidUntil, stops, true
	} else if a.Note == "" {
		return nil
	}
	return []artefact{a}
}

// certificateArtefacts are an identity provider's certificates. With the last one to
// end people cannot sign in any more, unless a key is pinned.
func certificateArtefacts(certificates []saml.IdPCertificate, prefix, stops string) []artefact {
	var all []artefact
	pinned := slices.ContainsFunc(certificates, func(c saml.IdPCertificate) bool { return c.Pinned })
	last := slices.MaxFunc(certificates, func(a, b saml.IdPCertificate) int { return a.NotAfter.Compare(b.NotAfter) })
	for _, cert := range certificates {
		a := artefact{Kind: kindIdPCert, Name: prefix + shortFingerprint(cert.Fingerprint), Since: cert.NotBefore}
		switch {
		case cert.Pinned:
			a.Note = fmt.Sprintf("its key is pinned and good beyond %s", cert.NotAfter.UTC().Format(time.RFC3339))
		case cert == last && !pinned:
			a.Until, a.Stops, a.Hard = cert.NotAfter, stops, true
		default:
			a.Until = cert.NotAfter
		}
		all = append(all, a)
	}
	return all
}

// signOnStops is what ends with the identity provider's last certificate, or its
// metadata; who is signed in stays so.
const signOnStops = "signing in"

func fingerprintOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return shortFingerprint(hex.EncodeToString(sum[:]))
}

// shortFingerprint is enough to tell one certificate from another.
func shortFingerprint(fingerprint string) string { return fingerprint[:min(16, len(fingerprint))] }
