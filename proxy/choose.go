package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
)

const (
	// choiceName is the door's cookie with the name of the identity provider that
	// signed this browser's person in last. It is a convenience and no secret: its
	// value is looked up among those that are allowed.
	choiceName = session.CookiePrefix + "-idp"
	// choiceLife is how long it is remembered, in seconds: half a year.
	choiceLife = 180 * 24 * 60 * 60
)

// maxAddress is the length of the longest e-mail address (RFC 5321 section 4.5.3.1.3,
// less the angle brackets).
const maxAddress = 254

// Parameters of the door's addresses that start a sign-on.
const (
	paramIdP    = "idp"         // the name of an identity provider
	paramDomain = "domain_hint" // an e-mail domain
	paramLogin  = "login_hint"  // an e-mail address
	paramChoose = "choose"      // present: ask again
	paramBegin  = "begin"       // what a tool's host asks
)

// choice is which identity provider a sign-on goes to, if that is known.
type choice struct {
	idp *IdP // nil: the person has to say
	// typed says that the person gave an e-mail address in a form, and unknown that
	// no identity provider is known by its domain.
	typed, unknown bool
}

// choose finds the one among those allowed that the address names, or is known by
// the e-mail domain that the address names, or signed this browser's person in
// before. A parameter that names none that is allowed has the person choose.
func choose(r *http.Request, allowed []*IdP) choice {
	query := r.URL.Query()
	switch {
	case len(allowed) == 1:
		return choice{idp: allowed[0]}
	case query.Has(paramChoose):
		return choice{}
	case query.Has(paramIdP):
		return choice{idp: byName(allowed, query.Get(paramIdP))}
	case query.Has(paramLogin):
		hint := query.Get(paramLogin)
		idp := byDomain(allowed, hint[strings.LastIndexByte(hint, '@')+1:])
		return choice{idp: idp, typed: true, unknown: idp == nil}
	case query.Has(paramDomain):
		return choice{idp: byDomain(allowed, query.Get(paramDomain))}
	}
	return choice{idp: remembered(r, allowed)}
}

func byName(allowed []*IdP, name string) *IdP {
	return first(allowed, func(idp *IdP) bool { return idp.Name == name })
}

// byDomain returns the first that is known by the domain.
func byDomain(allowed []*IdP, domain string) *IdP {
	domain = strings.ToLower(strings.TrimSpace(domain))
	return first(allowed, func(idp *IdP) bool { return slices.Contains(idp.Domains, domain) })
}

// remembered returns the one that signed this browser's person in last.
func remembered(r *http.Request, allowed []*IdP) *IdP {
	cookies := r.CookiesNamed(choiceName)
	if len(cookies) != 1 {
		return nil
	}
	name, err := url.PathUnescape(cookies[0].Value)
	if err != nil {
		return nil
	}
	return byName(allowed, name)
}

// remember has this browser's next sign-on go to idp, unless there was no choice.
func (g *Gateway) remember(ex *exchange, idp *IdP, rt *place) {
	if len(g.allowed(rt)) < 2 {
		return
	}
	http.SetCookie(ex, &http.Cookie{
		Name: choiceName, Value: url.PathEscape(idp.Name), Path: "/", MaxAge: choiceLife,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// startAgain is the address where a person signs in anew: with another identity
// provider than before, if they like.
func (g *Gateway) startAgain() string {
	if len(g.idps.order) > 1 {
		return g.door + "/?" + paramChoose + "=1"
	}
	return g.door + "/"
}

func first(allowed []*IdP, fits func(*IdP) bool) *IdP {
	if i := slices.IndexFunc(allowed, fits); i >= 0 {
		return allowed[i]
	}
	return nil
}

// serveChooser asks the person which identity provider to sign in with, for rt or, if
// that is nil, for the door. The page's links lead to the same address, with the answer.
func (g *Gateway) serveChooser(ex *exchange, r *http.Request, rt *place, unknown bool) {
	page := portal.Chooser{Action: r.URL.Path, Unknown: unknown}
	if typed := r.URL.Query().Get(paramLogin); unknown && len(typed) <= maxAddress {
		page.Address = typed
	}
	if rt != nil {
		page.Tool = rt.Title
	}
	if begin := r.URL.Query().Get(paramBegin); begin != "" {
		page.Fields = []portal.Field{{Name: paramBegin, Value: begin}}
	}
	allowed := g.allowed(rt)
	last := remembered(r, allowed)
	for _, idp := range allowed {
		page.Choices = append(page.Choices, portal.Choice{Title: idp.Title, URL: choiceAddress(r, idp), Last: idp == last})
		page.AskAddress = page.AskAddress || len(idp.Domains) > 0
	}
	ex.Fail(g.pages.WriteChooser(ex, page))
}

// serveChosen goes on after the form with the e-mail address. It is a page, and no
// redirect: Chromium holds the redirects of a form to the page's own policy, and
// nobody knows where an identity provider sends the browser on to. What leads on
// from here is a step of its own.
func (g *Gateway) serveChosen(ex *exchange, r *http.Request, idp *IdP) {
	address := g.door + choiceAddress(r, idp)
	g.notice(ex, portal.Notice{
		Status: http.StatusOK, Title: "Signing in with " + idp.Title,
		Message: "If nothing happens in a moment, go on yourself.",
		Onward:  address, Link: address, LinkText: "Continue",
	})
}

// choiceAddress is the address that r asked for, with idp as the answer.
func choiceAddress(r *http.Request, idp *IdP) string {
	query := url.Values{paramIdP: {idp.Name}}
	if begin := r.URL.Query().Get(paramBegin); begin != "" {
		query.Set(paramBegin, begin)
	}
	return r.URL.EscapedPath() + "?" + query.Encode()
}
