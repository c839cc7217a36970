package saml

import (
	"time"

	"github.com/beevik/etree"
	"github.com/russellhaering/gosaml2/types"
)

// judgement is one response on its way through the checks. Each check sees what
// those before it let through, and adds what it has found out.
type judgement struct {
	sp   *ServiceProvider
	now  time.Time
	post Post
	want Expectation

	raw       []byte         // of the gates: what arrived, or what came out of the decryption
	root      *etree.Element // of the tree of raw
	assertion *etree.Element // nil as long as it is encrypted
	encrypted *etree.Element // nil if it is not
	env       *envelope

	sealed   *sealedAssertion // what encrypted holds
	vouched  *etree.Element   // the response, read back from the bytes that it is signed by; see [judgement.verifyEnvelope]
	opened   bool             // raw is what came out of the decryption
	verifier *verifier        // of the certificate that the signatures are by

	response  *types.Response // verified
	principal *Principal
}

// Names of steps at which the order is cut, by who makes some of the checks alone;
// each stands in it once.
const (
	stepBody       = "body"                 // the first that reads the response
	stepOpening    = "response certificate" // the first that needs the metadata
	stepDecryption = "decryption"           // the first that needs a key of ours
	stepComparison = "one assertion"        // what was verified with what was gated
	stepProfile    = "destination"          // the first of the profile itself
	stepIdentity   = "identity"             // the first that is about the configuration
)

// order is every check of a response, in the one order that there is. The gates
// stand in it twice: what comes out of a decryption was not seen by the first of
// them, so it passes them as if it had just arrived.
var order = []phase{
	{steps: arrival},
	{steps: gates},
	{when: (*judgement).isEncrypted, steps: opening},
	{prefix: "decrypted ", when: (*judgement).isOpened, steps: gates},
	{steps: verification},
	{steps: profile},
	{steps: identification},
}

var (
	arrival = []step{
		{name: "metadata", run: (*judgement).checkMetadata},
		{name: stepBody, run: (*judgement).checkBody},
	}
	gates = []step{
		{name: "stream", run: (*judgement).checkStream},
		{name: "root", run: (*judgement).checkRoot},
		{name: "status", run: (*judgement).checkStatus},
		{name: "structure", run: (*judgement).checkStructure},
		{name: "identifiers", run: (*judgement).checkIDs},
		{name: "version", run: (*judgement).checkHeads},
		{name: "issuer format", run: (*judgement).checkIssuers},
		{name: "confirmation", run: (*judgement).checkConfirmation},
		{name: "signature form", run: (*judgement).checkSignatures},
	}
	opening = []step{
		{name: stepOpening, when: (*judgement).isSigned, run: (*judgement).chooseCertificate},
		{name: "response signature", when: (*judgement).isSigned, run: (*judgement).verifyEnvelope},
		{name: "encryption", run: (*judgement).checkEncryption},
		{name: stepDecryption, run: (*judgement).decrypt},
	}
	verification = []step{
		{name: "certificate", when: (*judgement).isSigned, run: (*judgement).chooseCertificate},
		{name: "signature", run: (*judgement).verifySignature},
	}
	identification = []step{
		{name: stepIdentity, run: (*judgement).identify},
		{name: "domain", run: (*judgement).checkDomains},
		// Last of all, so that only a sign-on that would succeed uses up memory.
		{name: "replay", run: (*judgement).checkReplay},
	}
)

func (j *judgement) isEncrypted() bool { return j.encrypted != nil }
func (j *judgement) isOpened() bool    { return j.opened }
func (j *judgement) isSigned() bool    { return len(j.env.signatures) > 0 }

// run makes the checks of some phases.
func (j *judgement) run(phases ...phase) error { return runSteps(j, phases) }

func (j *judgement) traced() *Trace { return j.want.Trace }

// checkMetadata asks whether the metadata may still be used to judge by.
func (j *judgement) checkMetadata() error {
	if err := j.sp.checkFresh(j.now); err != nil {
		return refusef(CodeIdPMetadataExpired, "judging a response: %w", err)
	}
	return nil
}

// checkBody is the bytes gate.
func (j *judgement) checkBody() (err error) {
	j.raw, err = decodeResponse(j.post.Response)
	return err
}

// checkStream is the stream gate. What came out of a decryption passes it in its
// place too; what is wrong then is a fault of the decryption, like all of them.
func (j *judgement) checkStream() error {
	err := checkStream(j.raw, responseLimits())
	if err != nil && j.opened {
		return refusef(CodeDecryption, "%w", errDecryption)
	}
	return err
}

// identify maps the verified assertion to a principal.
func (j *judgement) identify() (err error) {
	if j.principal, err = j.sp.identity(&j.response.Assertions[0]); err != nil {
		j.principal = nil
		return err
	}
	j.principal.SigningCertificate = fingerprint(j.verifier.cert.Raw)
	return nil
}

// checkReplay has the assertion remembered.
func (j *judgement) checkReplay() error { return j.sp.rememberAssertion(&j.response.Assertions[0]) }
