package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// answer is what an identity provider's answer turns out to be, step by step.
type answer struct {
	// idp is whose answer it has to be; nil until that is known.
	idp *IdP
	// solicited says that this browser has asked for it, in a sign-on with pending.
	solicited  bool
	relayState string
	pending    session.Pending
	principal  *saml.Principal // nil until it was verified
	trace      *saml.Trace     // nil if nobody wants to know
}

func (g *Gateway) newAnswer() *answer {
	a := new(answer)
	if g.cfg.Traces != nil {
		a.trace = new(saml.Trace)
	}
	return a
}

// trace leaves in the flight recorder what was found out about the answer.
func (g *Gateway) trace(ex *exchange, a *answer) {
	if g.cfg.Traces == nil {
		return
	}
	t := Traced{
		RequestID: ex.Record.RequestID, Time: ex.Record.Time, Decision: ex.Record.Decision, Reason: ex.Record.Reason, Cause: ex.Record.Cause,
		Trace: *a.trace, from: networkOf(ex.Record.ClientAddress),
	}
	if a.idp != nil {
		t.IdP = a.idp.Name
	}
	if a.principal != nil || a.trace.Withheld() {
		t.Cause = "" // somebody's name may stand in it, which belongs in the log alone
	}
	g.cfg.Traces.add(t)
}

// verify reads the POST and has it verified by the identity provider that this
// browser was sent to, against the request that it was given. Which one that was
// stands in the browser's own cookie, not in the answer: an identity provider
// cannot answer for another. All errors are *saml.Refusal.
func (g *Gateway) verify(ex *exchange, r *http.Request, a *answer) error {
	if r.Method == http.MethodPost && !g.idps.landing && !g.cfg.Sessions.HoldsAny(r) {
		return errNoPending("this browser began no sign-on")
	}
	post, err := saml.ReadPost(ex, r)
	if err != nil {
		return err
	}
	ex.ExpectBody(0)
	a.relayState = post.RelayState
	if a.pending, a.solicited = g.cfg.Sessions.Held(r, post.RelayState); !a.solicited {
		return g.verifyUnsolicited(r.Context(), post, a)
	}
	if a.idp = g.idps.named[a.pending.IdP]; a.idp == nil {
		return &saml.Refusal{Code: string(absentIdP), Err: fmt.Errorf("the sign-on was begun with %q, which is not configured any more", a.pending.IdP)}
	}
	want := g.expectation(a.pending)
	want.Trace = a.trace
	return g.verifyByNewest(r.Context(), a, func(sp ServiceProvider) error { return a.verifyWith(r.Context(), sp, post, want) })
}

// verifyByNewest has verify judge a message of a.idp, and once more with newer metadata if
// there is some that may help: then that is what counts, and stands in a.trace. Anybody
// can send what nobody has asked for: on account of that, it is looked for once a minute
// at most.
func (g *Gateway) verifyByNewest(ctx context.Context, a *answer, verify func(ServiceProvider) error) error {
	err := verify(a.idp.SAML)
	if g.cfg.Refresh == nil || !saysNewKey(err) || !a.solicited && !g.alarms.due("refresh for strangers "+a.idp.Name, g.cfg.Now()) {
		return err
	}
	newer := g.refreshed(ctx, a.idp.Name)
	if newer == nil {
		return err
	}
	if a.trace != nil {
		*a.trace = saml.Trace{}
	}
	return verify(newer)
}

// verifyWith has sp verify the post, and holds it to what it says about itself.
func (a *answer) verifyWith(ctx context.Context, sp ServiceProvider, post saml.Post, want saml.Expectation) error {
	principal, err := sp.Verify(ctx, post, want)
	if err != nil {
		return err
	}
	if entityID := a.idp.SAML.IdP().EntityID; principal.IdP != entityID {
		return &saml.Refusal{Code: saml.CodeIssuer, Err: fmt.Errorf("the principal is of %.100q, expected of %.100q", principal.IdP, entityID)}
	}
	a.principal = principal
	return nil
}

// verifyUnsolicited is for an answer that this browser has not asked for, which
// some identity providers may send: a sign-on that began there. Its RelayState
// means nothing to us.
func (g *Gateway) verifyUnsolicited(ctx context.Context, post saml.Post, a *answer) error {
	if !g.idps.landing {
		return errNoPending("this browser began no sign-on under that relay state")
	}
	issuer, err := post.Issuer()
	if err != nil {
		return err
	}
	idp := g.idps.entity[issuer]
	if idp == nil || idp.Landing == "" {
		return errNoPending(fmt.Sprintf("this browser began no sign-on, and %.100q may begin none itself", issuer))
	}
	a.idp = idp
	err = a.verifyWith(ctx, idp.SAML, post, saml.Expectation{Trace: a.trace})
	if refusalCode(err) == saml.CodeInResponseTo {
		// It answers a request of ours: of another browser, or of long ago.
		return &saml.Refusal{Code: codeNoPending, Err: fmt.Errorf("looking at it as unsolicited: %w", err)}
	}
	return err
}

// refreshWait is how long an answer waits for new metadata.
const refreshWait = 5 * time.Second

// refreshed asks for an identity provider's newer metadata.
func (g *Gateway) refreshed(ctx context.Context, name string) ServiceProvider {
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	return g.cfg.Refresh(ctx, name)
}

// saysNewKey reports whether an answer was refused in a way in which one is that
// was signed with a key which the identity provider has had since.
func saysNewKey(err error) bool {
	code := refusalCode(err)
	return code == saml.CodeUnknownCertificate || code == saml.CodeSignature
}

// refusalCode is the reason code of an error of package saml: CodeInternal if it is
// no *saml.Refusal, and empty for none.
func refusalCode(err error) string {
	if refused, ok := errors.AsType[*saml.Refusal](err); ok {
		return refused.Code
	}
	if err != nil {
		return saml.CodeInternal
	}
	return ""
}

// mayStart reports whether a session may start from a verified answer, and answers
// if it may not: a sign-on is used once, and one that nobody here asked for takes
// nobody's place. Else a page could send somebody's browser to sign on as another
// person (login CSRF), whose account then gets what they type.
func (g *Gateway) mayStart(ex *exchange, r *http.Request, a *answer) bool {
	if a.solicited {
		if !g.cfg.Sessions.Finish(ex, a.relayState, a.pending) {
			g.refuseSignIn(ex, &saml.Refusal{Code: "signin_used", Err: errors.New("this sign-on was finished before")})
			return false
		}
		return true
	}
	linked, ok := g.cfg.Sessions.Linked(r)
	if !ok || linked.User == a.principal.User || g.cfg.Sessions.Revocations().Ended(linked) {
		return true
	}
	user := linked.User
	ex.Record.Reason = "other_person"
	ex.Fail(fmt.Errorf("this browser is signed in as %.100q", user))
	g.notice(ex, portal.Notice{
		Status: http.StatusConflict, Title: "Somebody is signed in already",
		Message:   "You are signed in here as " + user + ", and your identity provider now sends somebody else: " + a.principal.User + ". If you want to change, sign out first, and open the tool again.",
		RequestID: ex.Record.RequestID, Post: reservedPrefix + "sign_out", PostText: "Sign out", Link: g.door + "/", LinkText: "Stay signed in",
	})
	return false
}

// codeNoPending: the answer belongs to no sign-on of this browser: it was begun
// in another one, took too long, or the browser keeps no cookies.
const codeNoPending = "no_pending_signin"

func errNoPending(cause string) error {
	return &saml.Refusal{Code: codeNoPending, Err: errors.New(cause)}
}
