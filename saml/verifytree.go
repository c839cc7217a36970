package saml

import (
	"github.com/beevik/etree"
	"github.com/russellhaering/gosaml2/types"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

// validate has goxmldsig verify the signature in an element over that element,
// and returns the element as it reads it back from the bytes that were signed.
func (v *verifier) validate(el *etree.Element) (*etree.Element, error) {
	ctx := dsig.NewDefaultValidationContext(v.sp.IDPCertificateStore)
	ctx.Clock = v.sp.Clock
	return ctx.Validate(readableBy(el, v.cert.PublicKey))
}

// verify makes a response of one in the clear. It does what gosaml2 does, one signature
// after the other: the response's own covers the assertion's as it was sent, so the
// two cannot be put into another form at once (see [derValue]). gosaml2 itself would
// parse again what was parsed, and walk the tree several times more.
func (v *verifier) verify(root, assertion *etree.Element) (*types.Response, error) {
	if childOf(root, nsDsig, "Signature") == nil {
		return v.verifyAlone(root, assertion)
	}
	verified, err := v.validate(root)
	if err != nil {
		return nil, libraryRefusal(err)
	}
	assertions := childrenOf(verified, nsAssertion, "Assertion")
	if len(assertions) != 1 {
		return nil, refusef(CodeInternal, "%d assertions verified, one gated", len(assertions))
	}
	return v.verifyInside(verified, assertions[0])
}

// verifyAlone makes a response of one in which nothing but the assertion is signed.
// What stands around that is as the browser brought it.
func (v *verifier) verifyAlone(root, assertion *etree.Element) (*types.Response, error) {
	verified, err := v.validateInside(assertion)
	if err != nil {
		return nil, libraryRefusal(err)
	}
	response, signed := &types.Response{}, types.Assertion{}
	if err := unmarshal(root, response); err != nil {
		return nil, libraryRefusal(err)
	}
	if err := unmarshal(verified, &signed); err != nil {
		return nil, libraryRefusal(err)
	}
	signed.SignatureValidated = true
	response.SignatureValidated, response.Assertions = false, []types.Assertion{signed}
	if err := v.sp.Validate(response); err != nil {
		return nil, libraryRefusal(err)
	}
	return response, nil
}

// unmarshal reads an element, in its place, into a struct of gosaml2's.
func unmarshal(el *etree.Element, into any) error {
	ctx, err := etreeutils.NSBuildParentContext(el)
	if err != nil {
		return err
	}
	return etreeutils.NSUnmarshalElement(ctx, el, into)
}

// verifyInside makes a response of a tree whose every byte was signed, by the
// response's own signature. If the assertion in it has one too, it must verify as
// well (gosaml2 wants the same of an assertion in the clear).
func (v *verifier) verifyInside(root, assertion *etree.Element) (*types.Response, error) {
	signed := childOf(assertion, nsDsig, "Signature") != nil
	if signed {
		verified, err := v.validateInside(assertion)
		if err != nil {
			return nil, libraryRefusal(err)
		}
		replaceElement(assertion, verified)
	}
	response := &types.Response{}
	if err := unmarshal(root, response); err != nil {
		return nil, libraryRefusal(err)
	}
	response.SignatureValidated = true
	for i := range response.Assertions {
		response.Assertions[i].SignatureValidated = signed
	}
	if err := v.sp.Validate(response); err != nil {
		return nil, libraryRefusal(err)
	}
	return response, nil
}

// validateInside verifies a signature in an element that stands in another, in the
// scope of whose namespaces it was written.
func (v *verifier) validateInside(el *etree.Element) (*etree.Element, error) {
	ctx, err := etreeutils.NSBuildParentContext(el)
	if err != nil {
		return nil, err
	}
	detached, err := etreeutils.NSDetatch(ctx, el)
	if err != nil {
		return nil, err
	}
	verified, err := v.validate(detached)
	if err == nil && verified == nil {
		return nil, dsig.ErrMissingSignature
	}
	return verified, err
}
