package proxy

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/keep"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
)

// serveForm shows a kept form to the person that it was kept for, who has signed in.
func (g *Gateway) serveForm(ex *exchange, r *http.Request, rt *place) {
	id := formID(r.URL.Query().Get("id"))
	rt = g.placeOfForm(r, rt, id)
	ex.Record.Route = rt.Name
	state := g.admit(ex, r, rt)
	if state == nil {
		return
	}
	form, answer := g.forms.Look(id, session.FormKey(r, id), rt.Host, state.User)
	target, err := url.ParseRequestURI(form.Target)
	if answer != keep.Here || err != nil {
		g.refuseGone(ex, r, rt, answer)
		return
	}
	ex.Note(accesslog.ActionForm, accesslog.DecisionAllow, "form_shown")
	ex.Fail(g.pages.WriteKept(ex, portal.Kept{
		Tool: rt.Title, User: state.User, Method: http.MethodPost, Path: shortened(target.EscapedPath()),
		Size: sizeInWords(form.Size), Age: ageInWords(g.cfg.Now().Sub(form.At)),
		Send: rt.origin + withFormMark(form.Target, id), Discard: rt.origin + formPage + id,
	}))
}

// placeOfForm is the place that a kept form is for, or rt if there is no form: who may
// look at it is whoever may send it.
func (g *Gateway) placeOfForm(r *http.Request, rt *place, id string) *place {
	target, err := url.ParseRequestURI(g.forms.Target(id, session.FormKey(r, id), rt.Host))
	if err != nil {
		return rt
	}
	return cmp.Or(g.placeUsed(session.Use{Host: rt.Host, Method: http.MethodPost, Path: relay.SentPath(target)}), rt)
}

// sameTarget reports whether the form id, which r is about to send, is for rt, as it is
// when our own page sends it. Who may was decided by the path of r, and what is sent is
// the form's.
func (g *Gateway) sameTarget(r *http.Request, rt *place, id string) bool {
	at := g.placeOfForm(r, rt, id)
	return at.route == rt.route && at.part == rt.part
}

// serveDiscard throws a kept form away.
func (g *Gateway) serveDiscard(ex *exchange, r *http.Request, rt *place) {
	ex.Note(accesslog.ActionForm, accesslog.DecisionDeny, "")
	id := formID(r.URL.Query().Get("id"))
	rt = g.placeOfForm(r, rt, id)
	state, absence := g.find(ex, r, rt)
	switch err := g.crossSite.Check(r); {
	case absence != session.Present:
		ex.Record.Reason = string(absence)
		g.redirect(ex, rt.origin+formPage+id) // where one signs in
		return
	case err != nil:
		g.refuse(ex, r, *crossOrigin(err))
		return
	}
	g.noteSession(ex, state)
	if _, answer := g.forms.Take(id, session.FormKey(r, id), rt.Host, state.User); answer != keep.Here {
		g.refuseGone(ex, r, rt, answer)
		return
	}
	g.forms.Settle(id, true)
	ex.Note(accesslog.ActionForm, accesslog.DecisionAllow, "form_discarded")
	session.ForgetFormKey(ex, id)
	g.redirect(ex, rt.url())
}

// unmarked returns r without the mark of a kept form; if r is the click that sends the
// form, the request that the form was. It returns nil once it has answered.
func (g *Gateway) unmarked(ex *exchange, r *http.Request, rt *place) *http.Request {
	query, id, marked := cutFormMark(r.URL.RawQuery)
	switch {
	case !marked:
		return r
	case r.Method == http.MethodPost:
		return g.takeForm(ex, r, rt, id)
	}
	again, at := *r, *r.URL
	at.RawQuery, again.URL = query, &at
	again.RequestURI = at.RequestURI()
	return &again
}

// takeForm returns the request that the form id was, or answers and returns nil. The
// form stays where it is until its sender may enter.
func (g *Gateway) takeForm(ex *exchange, r *http.Request, rt *place, id string) *http.Request {
	ex.Note(accesslog.ActionForm, accesslog.DecisionDeny, "")
	state, absence := g.find(ex, r, rt)
	if absence != session.Present {
		ex.Record.Reason = string(absence)
		g.redirect(ex, rt.origin+formPage+id)
		return nil
	}
	g.noteSession(ex, state)
	decision := g.judge(rt, state)
	err := g.crossSite.Check(r)
	switch {
	case err != nil:
		g.refuse(ex, r, *crossOrigin(err))
		return nil
	case decision.Verdict == policy.Again:
		ex.Note(accesslog.ActionForm, decision.Verdict.String(), decision.Reason)
		g.redirect(ex, rt.origin+formPage+id)
		return nil
	case decision.Verdict != policy.Allow:
		return r // refused like any other request of this person's; nothing of it is sent
	}
	if !g.sameTarget(r, rt, id) {
		g.refuseGone(ex, r, rt, keep.Gone)
		return nil
	}
	form, answer := g.forms.Take(id, session.FormKey(r, id), rt.Host, state.User)
	target, err := url.ParseRequestURI(form.Target)
	if answer != keep.Here || err != nil {
		g.refuseGone(ex, r, rt, answer)
		return nil
	}
	again := restored(r, target, form, id)
	ex.Record.Path, ex.Record.Query = target.Path, g.loggedQuery(again, rt.QueryKeys)
	return again
}

// refuseGone says that there is no form to be sent.
func (g *Gateway) refuseGone(ex *exchange, r *http.Request, rt *place, answer keep.Answer) {
	ex.Note(accesslog.ActionForm, accesslog.DecisionDeny, codeFormGone)
	rf := refusal{
		status: http.StatusGone, reason: codeFormGone, title: "There is no form to send",
		message: fmt.Sprintf("A form is kept for %s and can be sent once; it does not outlive a restart of Sallyport, and only the one that kept it can send it. If you have pressed the button before, your form may have reached %s: look there before you send it again.", inWords(keep.Life), rt.Title),
		link:    rt.url(), text: "Open " + rt.Title,
	}
	if answer == keep.Another {
		rf.status, rf.reason, rf.title = http.StatusForbidden, codeFormOther, "This form is not yours"
		rf.message = "It was kept for somebody else, who used this browser before you. It has not been sent, and was thrown away."
	}
	g.refuse(ex, r, rf)
}

// restored is the request that a kept form was: what the browser sends with the click
// that sends it, and of the form's own what a server may look at.
func restored(r *http.Request, target *url.URL, form keep.Form, id string) *http.Request {
	again := r.WithContext(r.Context())
	again.URL, again.RequestURI = target, form.Target
	again.Header = r.Header.Clone()
	for name, value := range map[string]string{"Content-Type": form.ContentType, "Origin": form.Origin, "Referer": form.Referer} {
		if value == "" {
			again.Header.Del(name)
		} else {
			again.Header.Set(name, value)
		}
	}
	again.Header.Set("Content-Length", strconv.Itoa(len(form.Body)))
	again.ContentLength, again.TransferEncoding = int64(len(form.Body)), nil
	again.Body = &keptBody{Reader: bytes.NewReader(form.Body), id: id, empty: len(form.Body) == 0}
	return again
}

// keptBody is the body of a kept form on its way. Whether anything of it has left is
// known only of one that is not empty.
type keptBody struct {
	io.Reader
	id    string
	empty bool
	read  atomic.Bool // set by the goroutine that sends it
}

// Read implements io.Reader.
func (b *keptBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.Reader.Read(p)
}

// Close implements io.Closer.
func (b *keptBody) Close() error { return nil }

// settle keeps a form on whose way nothing of it was sent, since the tool could not be
// reached: the person can click once more. Every other is gone, whatever the answer.
func (g *Gateway) settle(r *http.Request) {
	if body, kept := r.Body.(*keptBody); kept {
		g.forms.Settle(body.id, body.empty || body.read.Load())
	}
}

// withFormMark is target with the mark of a kept form as the last parameter.
func withFormMark(target, id string) string {
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	return target + separator + formMark + id
}

// cutFormMark returns a raw query without the mark of a kept form, wherever it stands,
// and the id in it: "" unless the mark is there once. All else stays byte for byte.
func cutFormMark(query string) (rest, id string, marked bool) {
	count := 0
	kept := make([]string, 0, 1+strings.Count(query, "&"))
	for pair := range strings.SplitSeq(query, "&") {
		if value, ours := strings.CutPrefix(pair, formMark); ours {
			id, count = value, count+1
		} else {
			kept = append(kept, pair)
		}
	}
	if count != 1 {
		id = ""
	}
	return strings.Join(kept, "&"), formID(id), count > 0
}

// formID is id if it may be that of a kept form, else "", which is none's.
func formID(id string) string {
	if len(id) > 32 || strings.ContainsFunc(id, func(c rune) bool { return (c < 'A' || c > 'Z') && (c < '0' || c > '9') }) {
		return ""
	}
	return id
}

// sizeInWords is a number of bytes for people.
func sizeInWords(n int) string {
	if n < 1000 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d kB", (n+500)/1000)
}

// ageInWords is how long ago something was, for people.
func ageInWords(age time.Duration) string {
	switch n := int(age / time.Minute); n {
	case 0:
		return "less than a minute"
	case 1:
		return "a minute"
	default:
		return fmt.Sprintf("%d minutes", n)
	}
}

// shortened is a path for people: enough of it to know it again.
func shortened(path string) string {
	const enough = 120
	if len(path) > enough {
		return path[:enough] + "…"
	}
	return path
}
