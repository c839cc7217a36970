package proxy

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/keep"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
)

// A form that comes when its sender has to sign in first is kept, and can be sent
// afterwards:
//
//	POST /path        -> page "your form is kept"; its link leads to
//	GET  formPage     -> sign-on, if need be, and back; a page with two buttons
//	POST /path?…&mark -> the form, as it came, in place of this click
//	POST formPage     -> thrown away
//
// Nothing is ever sent without a click of the person that it was kept for.

const (
	// formPage is where a kept form is sent from, on the tool's own host.
	formPage = reservedPrefix + "form?id="
	// formMark begins the query parameter that makes a POST the click that sends a
	// kept form; the form's id follows. No backend ever sees it.
	formMark = "sallyport-form="
)

// Why a form was not kept, or not sent.
const (
	codeFormTooLarge   = "form_too_large"
	codeFormType       = "form_type"
	codeFormLimit      = "form_limit"
	codeFormStoreFull  = "form_store_full"
	codeFormIncomplete = "form_incomplete"
	codeFormGone       = "form_gone"
	codeFormOther      = "form_other_person"
)

var (
	errFormType       = errors.New("not a form as a page of HTML sends it")
	errFormIncomplete = errors.New("form did not come whole")
)

// holdLapsed answers a form of somebody without a session: it is kept if the session
// only ran out, so that the person is known, and may enter after a sign-on. Pages of
// other origins have nothing kept.
func (g *Gateway) holdLapsed(ex *exchange, r *http.Request, rt *place, absence session.Absence) {
	s, known := g.cfg.Sessions.Lapsed(r, rt.Host)
	if !known || g.vouched(s, rt.route) != session.Present || g.crossSite.Check(r) != nil || rt.allows(s).Verdict != policy.Allow {
		ex.Record.Reason = string(absence)
		g.refuseUnsent(ex, r, rt, "")
		return
	}
	g.noteSession(ex, s)
	ex.Note(accesslog.ActionFormKept, accesslog.DecisionSignIn, string(absence))
	g.holdForm(ex, r, rt, s)
}

// holdForm keeps the form of s, for the reason in the record, and says so; or says
// that it was not sent.
func (g *Gateway) holdForm(ex *exchange, r *http.Request, rt *place, s *session.State) {
	id, err := g.keepForm(ex, r, rt.Host, s.User)
	if err != nil {
		reason, why := whyUnkept(err)
		ex.Note(accesslog.ActionAccess, accesslog.DecisionDeny, reason)
		ex.Fail(err)
		g.refuseUnsent(ex, r, rt, why)
		return
	}
	g.refuse(ex, r, refusal{
		status: http.StatusUnauthorized, reason: ex.Record.Reason, title: "Your form is kept",
		message: fmt.Sprintf("You have to sign in first, so what you sent has not reached %s. It is kept for %s, for you alone: sign in, and you can send it with one click.", rt.Title, inWords(keep.Life)),
		link:    rt.origin + formPage + id, text: "Sign in",
	})
}

// refuseUnsent says that a form has not reached its tool, for the reason in the
// record, and is not kept, and why not.
func (g *Gateway) refuseUnsent(ex *exchange, r *http.Request, rt *place, why string) {
	g.refuse(ex, r, refusal{
		status: http.StatusUnauthorized, reason: ex.Record.Reason, title: "Your form was not sent",
		message: "You have to sign in first, so what you sent has not reached " + rt.Title + why + ". Sign in, go back in your browser, and send it again.",
		link:    rt.url(), text: "Sign in",
	})
}

// whyUnkept is the reason code of an error of keepForm, and what to tell the person.
func whyUnkept(err error) (reason, why string) {
	switch {
	case errors.Is(err, keep.ErrTooLarge):
		return codeFormTooLarge, fmt.Sprintf(", and it is too large to be kept: more than %d kB", keep.MaxForm>>10)
	case errors.Is(err, keep.ErrPerson):
		return codeFormLimit, fmt.Sprintf(", and it is not kept: %d others of yours are already, which you can send or wait for", keep.MaxPerPerson)
	case errors.Is(err, keep.ErrFull):
		return codeFormStoreFull, ", and there is no room to keep it at this moment"
	case errors.Is(err, errFormType):
		return codeFormType, ", and it is not of a kind that is kept"
	}
	return codeFormIncomplete, ", and it has not come here whole"
}

// keepForm reads the body of r, which holds no more than is kept, and keeps it for user.
func (g *Gateway) keepForm(ex *exchange, r *http.Request, host, user string) (id string, err error) {
	if r.Method != http.MethodPost || !formOfHTML(r.Header) {
		return "", errFormType
	}
	room, err := g.forms.Reserve(host, user, r.ContentLength)
	if err != nil {
		return "", fmt.Errorf("keeping a form: %w", err)
	}
	defer room.Release()
	body, err := readForm(r)
	if err != nil {
		return "", err
	}
	ex.ExpectBody(0)
	id, key, err := room.Keep(keep.Form{
		Target: r.URL.RequestURI(), ContentType: r.Header.Get("Content-Type"),
		Origin: r.Header.Get("Origin"), Referer: r.Header.Get("Referer"), Body: body,
	})
	if err != nil {
		return "", fmt.Errorf("keeping a form: %w", err)
	}
	session.ForgetFormKeys(ex, r, g.forms.Has)
	session.LeaveFormKey(ex, id, key, keep.Life)
	return id, nil
}

// readForm reads a body that has the length that it says, if it says one.
func readForm(r *http.Request) ([]byte, error) {
	size := r.ContentLength
	if size < 0 {
		size = keep.MaxForm + 1
	}
	body := make([]byte, size)
	n, err := io.ReadFull(r.Body, body)
	switch ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); {
	case r.ContentLength < 0 && err == nil:
		clear(body)
		return nil, keep.ErrTooLarge
	case err != nil && (r.ContentLength >= 0 || !ended):
		clear(body)
		return nil, errors.Join(errFormIncomplete, err)
	}
	return body[:n], nil
}

// formOfHTML reports whether a body is of a kind that a form of HTML sends without any
// script (HTML section 4.10.22.6), and comes as it is.
func formOfHTML(h http.Header) bool {
	if len(h["Content-Type"]) != 1 || h.Get("Content-Encoding") != "" {
		return false
	}
	switch media, _, err := mime.ParseMediaType(h.Get("Content-Type")); media {
	case "application/x-www-form-urlencoded", "multipart/form-data", "text/plain":
		return err == nil
	}
	return false
}
