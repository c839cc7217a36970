package saml

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/russellhaering/gosaml2/types"
)

// invisible reports the characters that make two different names look alike, or
// one name look like another: controls, bidirectional and zero-width formats,
// default-ignorable ones, selectors, private use, and what replaces a letter
// that somebody could not read.
func invisible(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Noncharacter_Code_Point)
}

// checkValue is the one rule for every text that leaves this package. It never
// repairs: a value that was trimmed or stripped is somebody else's.
func checkValue(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("value %.100q is not valid UTF-8", s)
	}
	if n := utf8.RuneCountInString(s); n > maxTextLength {
		return fmt.Errorf("value %.100q of %d characters, at most %d are allowed", s, n, maxTextLength)
	}
	for _, r := range s {
		if invisible(r) {
			return fmt.Errorf("value %.100q has the character %U, which cannot be seen", s, r)
		}
	}
	if strings.TrimSpace(s) != s {
		return fmt.Errorf("value %.100q begins or ends with white space", s)
	}
	return nil
}

// identity maps a verified assertion to a principal. It comes behind the
// signature and the profile, and yet trusts no text: most directories let people
// edit some of their own entry.
func (sp *ServiceProvider) identity(a *types.Assertion) (*Principal, error) {
	p := &Principal{IdP: sp.idp.entityID, AssertionID: a.ID}
	if err := takeSubject(p, a); err != nil {
		return nil, err
	}
	if err := takeAuthn(p, a.AuthnStatement); err != nil {
		return nil, err
	}
	source := attributeSource{p: p, values: mergeAttributes(a.AttributeStatement)}
	for _, take := range []func(*attributeSource, Attributes) error{takeUser, takeEmail, takeName, takeGroups} {
		if err := take(&source, sp.attributes); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// takeSubject takes the NameID, mapped or not: it will be in a log and in a
// logout request.
func takeSubject(p *Principal, a *types.Assertion) error {
	if id := a.Subject.NameID; id != nil {
		p.Subject = Subject{NameID: id.Value, Format: id.Format, NameQualifier: id.NameQualifier, SPNameQualifier: id.SPNameQualifier}
	}
	return p.Subject.check()
}

// check holds the name and what qualifies it to the rule for every text.
func (s Subject) check() error {
	for what, value := range map[string]string{
		"NameID": s.NameID, "format of the NameID": s.Format,
		"NameQualifier": s.NameQualifier, "SPNameQualifier": s.SPNameQualifier,
	} {
		if err := checkValue(value); err != nil {
			return refusef(CodeValue, "reading the %s: %w", what, err)
		}
	}
	return nil
}

// takeAuthn takes when and how the person proved who they are; the instants
// have been judged.
func takeAuthn(p *Principal, s *types.AuthnStatement) error {
	p.SessionIndex = s.SessionIndex
	p.AuthnInstant = *s.AuthnInstant
	if s.SessionNotOnOrAfter != nil {
		p.SessionNotOnOrAfter = *s.SessionNotOnOrAfter
	}
	p.AuthnContext = authnContextClass(s)
	if err := checkValue(p.SessionIndex); err != nil {
		return refusef(CodeValue, "reading the SessionIndex: %w", err)
	}
	if err := checkValue(p.AuthnContext); err != nil {
		return refusef(CodeValue, "reading the authentication context: %w", err)
	}
	return nil
}

// attributeSource is where the parts of a principal are found.
type attributeSource struct {
	p      *Principal
	values map[string][]string
}

// mergeAttributes joins attributes of one name, in the order of the assertion.
// Each value is kept once; empty ones say nothing and are left out.
func mergeAttributes(s *types.AttributeStatement) map[string][]string {
	merged := map[string][]string{}
	if s == nil {
		return merged
	}
	seen := map[[2]string]bool{}
	for _, a := range s.Attributes {
		for _, v := range a.Values {
			key := [2]string{a.Name, v.Value}
			if v.Value != "" && !seen[key] {
				seen[key] = true
				merged[a.Name] = append(merged[a.Name], v.Value)
			}
		}
	}
	return merged
}

// first returns the values of the first of names that is present, every one of
// them checked. A transient NameID is a different one each time, so it is
// present for nobody.
func (s *attributeSource) first(names []string) (string, []string, error) {
	for _, name := range names {
		values := s.values[name]
		if name == NameIDAttribute {
			values = nil
			if s.p.Subject.NameID != "" && s.p.Subject.Format != formatTransient {
				values = []string{s.p.Subject.NameID}
			}
		}
		for _, v := range values {
			if err := checkValue(v); err != nil {
				return "", nil, refusef(CodeValue, "reading attribute %.100q: %w", name, err)
			}
		}
		if len(values) > 0 {
			return name, values, nil
		}
	}
	return "", nil, nil
}

// takeUser is strict: a user name decides, so there must be one and only one.
func takeUser(s *attributeSource, names Attributes) error {
	from, values, err := s.first(names.User)
	switch {
	case err != nil:
		return err
	case len(values) == 0 && s.p.Subject.Format == formatTransient && slices.Contains(names.User, NameIDAttribute):
		return refusef(CodeTransient, "the NameID is transient and none of the attributes %.200q is present", names.User)
	case len(values) == 0:
		return refusef(CodeUser, "none of the attributes %.200q is present", names.User)
	case len(values) > 1:
		return refusef(CodeAmbiguous, "attribute %.100q has %d values, a user name must be one", from, len(values))
	}
	s.p.User = values[0]
	if strings.Contains(s.p.User, "@") {
		return checkEmail(from, s.p.User)
	}
	return nil
}

// takeEmail takes the one address there is. Of two, which one a tool would take is
// anybody's guess, so it gets none; people may have two, and the name that decides
// what they may do is another (saml2int SDP-SP20).
func takeEmail(s *attributeSource, names Attributes) error {
	from, values, err := s.first(names.Email)
	if err != nil || len(values) != 1 {
		return err
	}
	s.p.Email = values[0]
	return checkEmail(from, s.p.Email)
}

// checkEmail asks for what tells two addresses apart, not for deliverability:
// one '@' with something on either side, and nothing that a list or a header
// could be cut at.
func checkEmail(from, v string) error {
	local, domain, found := strings.Cut(v, "@")
	if !found || local == "" || domain == "" || strings.ContainsAny(domain, "@") || strings.ContainsFunc(v, unicode.IsSpace) || strings.ContainsAny(v, ",;<>\"") {
		return refusef(CodeEmail, "attribute %.100q is %.100q, expected one plain e-mail address", from, v)
	}
	return nil
}

// takeName is not strict about the number: cn often has several values.
func takeName(s *attributeSource, names Attributes) error {
	_, values, err := s.first(names.Name)
	if err != nil || len(values) == 0 {
		return err
	}
	s.p.Name = values[0]
	return nil
}

// takeGroups keeps the order of the assertion. A name may have commas, as
// distinguished names do: whoever joins groups must escape them.
func takeGroups(s *attributeSource, names Attributes) error {
	_, values, err := s.first(names.Groups)
	s.p.Groups = values
	return err
}
