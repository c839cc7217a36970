package saml

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// checkDomains keeps an identity provider to the people whom it may speak for:
// with several of them, the one of a subsidiary must not be able to name the head
// of the company. A domain is not its subdomains.
func (j *judgement) checkDomains() error {
	if j.sp.userDomains == nil {
		return nil
	}
	if user := j.principal.User; !strings.Contains(user, "@") {
		return refusef(CodeDomain, "the user name is %.100q, without a domain, and the identity provider may speak for addresses in %.100q: map an attribute that holds an address",
			user, j.sp.userDomains)
	} else if !j.sp.speaksFor(user) {
		return refusef(CodeDomain, "the user name is %.100q, the identity provider may speak for addresses in %.100q", user, j.sp.userDomains)
	}
	if email := j.principal.Email; email != "" && !j.sp.speaksFor(email) {
		return refusef(CodeDomain, "the e-mail address is %.100q, the identity provider may speak for addresses in %.100q", email, j.sp.userDomains)
	}
	return nil
}

// speaksFor judges one address. Only the letters of ASCII are equal in both cases:
// Unicode has others that fold to one of them, and are another domain.
func (sp *ServiceProvider) speaksFor(address string) bool {
	_, domain, found := strings.Cut(address, "@")
	return found && slices.Contains(sp.userDomains, lowerASCII(domain))
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// checkUserDomains judges what is configured. An empty list that is not nil lets
// nobody in, which nobody means.
func checkUserDomains(domains []string) error {
	if domains != nil && len(domains) == 0 {
		return errors.New("no domain that the identity provider may speak for: expected at least one, or nil for all")
	}
	for _, domain := range domains {
		if checkValue(domain) != nil || checkEmail("", "x@"+domain) != nil || lowerASCII(domain) != domain || strings.Trim(domain, ".") != domain {
			return fmt.Errorf("domain %.100q, expected one in lower-case without '@', like example.com", domain)
		}
	}
	return nil
}
