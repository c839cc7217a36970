package saml

// Issuer is the entity ID that the response gives as its sender's, to choose the
// [ServiceProvider] that shall judge it: the response's own issuer, or else its
// assertion's. It has not been verified. The error is a *[Refusal].
func (p Post) Issuer() (string, error) {
	raw, err := decodeResponse(p.Response)
	if err != nil {
		return "", err
	}
	if err := checkStream(raw, responseLimits()); err != nil {
		return "", err
	}
	root, err := readRoot(raw, &responseShape)
	if err != nil {
		return "", err
	}
	issuer := childOf(root, nsAssertion, "Issuer")
	if assertion := childOf(root, nsAssertion, "Assertion"); issuer == nil && assertion != nil {
		issuer = childOf(assertion, nsAssertion, "Issuer")
	}
	if id := textOf(issuer); checkEntityID(id) == nil {
		return id, nil
	}
	return "", refusef(CodeIssuer, "the response does not say who sends it, expected an Issuer of 1 to %d characters", maxEntityID)
}
