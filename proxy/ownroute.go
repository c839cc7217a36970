package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/relay"
)

// Redirect is a route that sends people on. It must not be changed after New.
type Redirect struct {
	// To is an absolute https URL, or a path at the route's own host.
	To string
	// Status is 301, 302, 307 or 308.
	Status int
	// KeepPath appends what follows the route's own path, and the query.
	KeepPath bool
}

// Respond is a route that shows a page in place of a tool, such as one that is being
// repaired. It must not be changed after New.
type Respond struct {
	// Status is between 200 and 599; Title and Message are what people read.
	Status         int
	Title, Message string
}

// itself reports whether the route answers without a backend.
func (rt *route) itself() bool { return rt.Redirect != nil || rt.Respond != nil }

// newOwnRoute is newRoute for a route without a backend.
func newOwnRoute(spec Route) (*route, error) {
	switch {
	case spec.Redirect != nil && spec.Respond != nil, spec.Backend != nil, spec.TLS != nil:
		return nil, fmt.Errorf("route %q has a redirect, a response or a backend beside another, expected one of them", spec.Name)
	case spec.ForwardAuth:
		return nil, fmt.Errorf("route %q is for an ingress to pass requests on, and has no tool", spec.Name)
	case spec.Respond != nil && (spec.Respond.Status < 200 || spec.Respond.Status > 599):
		return nil, fmt.Errorf("route %q responds with status %d, expected one between 200 and 599", spec.Name, spec.Respond.Status)
	case spec.Redirect != nil && !spec.Redirect.valid():
		return nil, fmt.Errorf("route %q redirects to %q with status %d, expected an https URL or a path, and 301, 302, 307 or 308", spec.Name, spec.Redirect.To, spec.Redirect.Status)
	}
	return &route{Route: spec}, nil
}

// valid reports whether r leads somewhere, and to no host but the one that it names:
// browsers read "//host" and "/\host" as another.
func (r *Redirect) valid() bool {
	to, err := url.Parse(r.To)
	if !redirects(r.Status) || err != nil || to.Fragment != "" || to.User != nil || to.Opaque != "" || strings.ContainsAny(r.To, "\\\t\r\n ") || r.KeepPath && to.RawQuery != "" {
		return false
	}
	if to.Scheme == "" {
		return to.Host == "" && strings.HasPrefix(r.To, "/") && !strings.HasPrefix(r.To, "//")
	}
	return to.Scheme == "https" && to.Host != ""
}

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// location is where r leads from u, at a host with that origin. What is appended
// begins with a slash, so that it cannot become part of a host's name.
func (r *Redirect) location(origin, prefix string, u *url.URL) string {
	to := r.To
	if to[0] == '/' {
		to = origin + to
	}
	if !r.KeepPath {
		return to
	}
	to = strings.TrimSuffix(to, "/") + stripped(relay.SentPath(u), prefix)
	if u.RawQuery != "" {
		to += "?" + u.RawQuery
	}
	return to
}

// answerItself answers somebody who may enter a route that has no backend.
func (g *Gateway) answerItself(ex *exchange, r *http.Request, rt *place) {
	if rt.Redirect != nil {
		portal.Protect(ex.Header())
		ex.Header().Set("Location", rt.Redirect.location(rt.origin, rt.Path, r.URL))
		ex.WriteHeader(rt.Redirect.Status)
		return
	}
	if !wantsPage(r) {
		writeJSON(ex, rt.Respond.Status, map[string]string{"message": rt.Respond.Message, "request_id": ex.Record.RequestID})
		return
	}
	g.notice(ex, portal.Notice{
		Status: rt.Respond.Status, Title: rt.Respond.Title, Message: rt.Respond.Message, RequestID: ex.Record.RequestID,
		Link: g.door + "/", LinkText: "Your tools",
	})
}
