package saml

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	rtvalidator "github.com/mattermost/xml-roundtrip-validator"
	saml2 "github.com/russellhaering/gosaml2"
	"github.com/russellhaering/gosaml2/types"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

// Verify judges the response in a post against what this browser was sent to ask
// for. The error is a *[Refusal].
//
// Verify waits for its turn, at most ten seconds, and then runs to its end
// whatever becomes of ctx.
func (sp *ServiceProvider) Verify(ctx context.Context, p Post, want Expectation) (*Principal, error) {
	want.Trace.begin("Response", sp.now())
	if err := sp.limiter.acquire(ctx); err != nil {
		want.Trace.fail("turn", err)
		return nil, err
	}
	defer sp.limiter.release()
	j := &judgement{sp: sp, now: sp.now(), post: p, want: want}
	if err := j.run(order...); err != nil {
		return nil, err
	}
	return j.principal, nil
}

// decodeResponse is the bytes gate. Line ends are all that may stand in the
// base64. There is no inflating: the POST binding has none, and the library's
// guess at it is how a kilobyte becomes megabytes.
func decodeResponse(encoded string) ([]byte, error) {
	if len(encoded) > maxBodySize {
		return nil, refusef(CodeXMLLimit, "response of %d characters, at most %d are allowed", len(encoded), maxBodySize)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, refusef(CodeEncoding, "decoding base64: %w", err)
	}
	return raw, checkBeginning(raw)
}

// checkBeginning tells XML from what is still packed in some way.
func checkBeginning(raw []byte) error {
	if first := bytes.TrimLeft(raw, " \t\r\n"); len(first) == 0 || first[0] != '<' {
		return refusef(CodeEncoding, "message begins with %.20q, expected XML", first)
	}
	return nil
}

// verifier is the library, made to trust one certificate and no other. One for
// each, because with several the library cannot verify a signature that does
// not say which certificate made it.
type verifier struct {
	cert *x509.Certificate
	sp   *saml2.SAMLServiceProvider
}

// newVerifier sets the library's clock back by the skew, so that its own check
// for expiry is as lenient as ours; ours is the exact one. The certificate's
// validity is moved by as much, so that it is judged by the true time; that of a
// pinned one has no ends.
func (sp *ServiceProvider) newVerifier(cert *x509.Certificate) *verifier {
	shifted := *cert
	shifted.NotBefore = cert.NotBefore.Add(-sp.skew)
	shifted.NotAfter = cert.NotAfter.Add(-sp.skew)
	if sp.idp.pinned(cert) {
		shifted.NotBefore, shifted.NotAfter = time.Time{}, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	return &verifier{cert: cert, sp: &saml2.SAMLServiceProvider{
		IdentityProviderIssuer:      sp.idp.entityID,
		AssertionConsumerServiceURL: sp.acsURL,
		ServiceProviderIssuer:       sp.entityID,
		AudienceURI:                 sp.entityID,
		AllowMissingAttributes:      true,
		IDPCertificateStore:         &dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{&shifted}},
		Clock:                       dsig.NewFakeClock(newClock(sp.now, sp.skew)),
	}}
}

// chooseCertificate picks the certificate to verify with. What came out of a
// signed response must be signed with the same one, if at all: two keys in one
// message are not what an identity provider does.
func (j *judgement) chooseCertificate() error {
	v, err := j.sp.chooseVerifier(j.env, j.now)
	switch {
	case err != nil:
		return err
	case j.verifier != nil && j.verifier != v:
		return refusef(CodeSignature, "assertion signed with the certificate %s, the response around it with %s",
			fingerprint(v.cert.Raw), fingerprint(j.verifier.cert.Raw))
	}
	j.verifier = v
	return nil
}

// verifySignature reads the response back from the bytes that were signed.
func (j *judgement) verifySignature() (err error) {
	if err := checkRoundTrip(j.raw); err != nil {
		return err
	}
	if j.vouched != nil {
		j.response, err = j.verifier.verifyInside(j.root, j.assertion)
	} else {
		j.response, err = j.verifier.verify(j.root, j.assertion)
	}
	return err
}

// checkRoundTrip refuses what Go's XML reader reads otherwise once it was written again
// (CVE-2020-29509 to -29511), as gosaml2 does. The gates leave nothing of the kind;
// this is the second lock on that door.
func checkRoundTrip(raw []byte) error {
	if err := rtvalidator.Validate(bytes.NewReader(raw)); err != nil {
		return refusef(CodeXML, "reading what was written again: %.300q", err.Error())
	}
	return nil
}

// chooseVerifier picks the certificate that the signatures name, or else the
// one whose key made them.
func (sp *ServiceProvider) chooseVerifier(env *envelope, now time.Time) (*verifier, error) {
	var named, valid *verifier
	for _, v := range sp.verifiers {
		if !env.names(v.cert) {
			continue
		}
		named = v
		if !sp.idp.trusts(v.cert, now) {
			continue
		}
		valid = v
		if env.signedBy(v.cert) {
			return v, nil
		}
	}
	switch {
	case named == nil:
		return nil, refusef(CodeUnknownCertificate, "signed with the certificate %s, the metadata has no such one", env.fingerprints())
	case valid == nil:
		return nil, refusef(CodeIdPCertificate, "certificate %s is valid from %s to %s, and its key %s is not pinned",
			fingerprint(named.cert.Raw), stamp(named.cert.NotBefore), stamp(named.cert.NotAfter), keyHash(named.cert))
	}
	return nil, refusef(CodeSignature, "no key of the identity provider made it, tried %s", fingerprint(valid.cert.Raw))
}

// libraryRefusal gives the library's errors our codes. What it does not know is
// a signature that did not verify: the worst case, and the usual one.
func libraryRefusal(err error) *Refusal {
	code := CodeSignature
	if value, ok := errors.AsType[saml2.ErrInvalidValue](err); ok {
		code = invalidValueCode(value.Key)
		if code == CodeExpired {
			return refusef(code, "the confirmation ended at %.100q, and now less the clock skew is %.100q", value.Actual, value.Expected)
		}
	} else if missing, ok := errors.AsType[saml2.ErrMissingElement](err); ok {
		code = missingElementCode(missing.Tag)
	} else if strings.Contains(err.Error(), etreeutils.ErrTraversalLimit.Error()) {
		// Some of the library's wrapping hides the error from errors.Is.
		code = CodeTooManyValues
	}
	return refusef(code, "verifying the response: %.400q", err.Error())
}

func invalidValueCode(key string) string {
	switch key {
	case saml2.DestinationAttr:
		return CodeDestination
	case saml2.IssuerTag:
		return CodeIssuer
	case saml2.RecipientAttr:
		return CodeRecipient
	case saml2.NotOnOrAfterAttr:
		return CodeExpired
	case saml2.SubjectConfirmationTag:
		return CodeSubjectConfirmation
	}
	return CodeInternal // the gate refuses the others
}

func missingElementCode(tag string) string {
	switch tag {
	case saml2.IssuerTag:
		return CodeIssuer
	case saml2.SubjectConfirmationDataTag:
		return CodeSubjectConfirmation
	}
	return CodeInternal // the gate refuses the others
}

// rememberAssertion consults the replay memory. An assertion is forgotten a
// minute after it would be refused for its age.
func (sp *ServiceProvider) rememberAssertion(a *types.Assertion) error {
	key := sha256.Sum256([]byte(sp.idp.entityID + "\x00" + a.ID))
	return sp.remember("assertion "+a.ID, hex.EncodeToString(key[:]), a.IssueInstant.Add(maxAssertionAge+sp.skew+time.Minute))
}

// remember lets a key in once. What it stands for is named for the log.
func (sp *ServiceProvider) remember(what, key string, until time.Time) error {
	err := errReplayed
	if own, ok := sp.replay.(*memory); ok {
		err = own.remember(sp.idp.entityID, key, until)
	} else if sp.replay.Remember(key, until) {
		err = nil
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errReplayFull):
		return refusef(CodeReplayFull, "remembering %.120q: %w", what, err)
	}
	return refusef(CodeReplay, "remembering %.120q: %w", what, err)
}
