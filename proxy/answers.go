package proxy

import (
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/portal"
)

// Frames says who may show a tool in a frame.
type Frames string

const (
	// FramesSameOrigin lets the tool's own pages, unless the tool says something
	// else. It is the zero value.
	FramesSameOrigin Frames = ""
	// FramesNobody lets no page, whatever the tool says.
	FramesNobody Frames = "nobody"
	// FramesTool leaves it to the tool: one that says nothing may be framed by
	// every page.
	FramesTool Frames = "tool"
)

// Answers is what becomes of a tool's answers on their way to the browser. The
// zero value adds security headers where the tool says nothing, and keeps its
// cookies to its own host. It must not be changed after New.
type Answers struct {
	// Frames says who may show the tool in a frame.
	Frames Frames
	// FrameOrigins are origins whose pages may, beside the tool's own; they replace
	// what the tool says. Nil for none.
	FrameOrigins []string
	// Set are headers that replace the tool's; Remove are names of headers that are
	// taken away, ours of the defaults too. Nil for none.
	Set    []HeaderLine
	Remove []string
	// Origins are further origins under which the tool thinks that it is reached, as
	// scheme://host:port; in Location they become its public one. Its sidecar's
	// address, and its public host in the clear, always do.
	Origins []string
	// Prefix is what paths begin with in the browser and not at the tool: "" or "/x".
	// With Route.StripPath it is Route.Path.
	Prefix string
	// UnsafeCookieDomain lets the tool set cookies for its whole domain, where all its
	// siblings get them. Else Domain is removed.
	UnsafeCookieDomain bool
}

// HeaderLine is a header with its value.
type HeaderLine struct{ Name, Value string }

// answers is an Answers, ready for use. It is immutable.
type answers struct {
	Answers
	// ancestors replaces whatever the tool says about frames; "" for nothing.
	ancestors string
	set       http.Header
	moved     map[string]bool // origins of the tool that no browser should see
}

// unsettable are headers that frame the message, are about one connection alone, or
// belong to a part of ours that has its own rules for them.
var unsettable = map[string]bool{
	"Connection": true, "Content-Length": true, "Transfer-Encoding": true, "Trailer": true, "Upgrade": true, "Keep-Alive": true, "Te": true,
	"Content-Encoding": true, "Content-Range": true, "Date": true, "Set-Cookie": true, "Location": true, "Alt-Svc": true, "Clear-Site-Data": true,
}

// SettableHeader reports whether an operator may set, or take away, an answer's
// header of this name.
func SettableHeader(name string) bool {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	return httpguts.ValidHeaderFieldName(name) && !unsettable[canonical] && !header.Managed(name)
}

// newAnswers makes spec ready for a tool whose sidecars are at backends.
func newAnswers(spec Answers, backends []*url.URL) (*answers, error) {
	a := &answers{Answers: spec, set: http.Header{}, moved: map[string]bool{}}
	for _, line := range spec.Set {
		if !SettableHeader(line.Name) || !httpguts.ValidHeaderFieldValue(line.Value) {
			return nil, fmt.Errorf("header %q cannot be set in answers", line.Name)
		}
		name := textproto.CanonicalMIMEHeaderKey(line.Name)
		a.set[name] = append(a.set[name], line.Value)
	}
	a.Remove = nil
	for _, name := range spec.Remove {
		if !SettableHeader(name) {
			return nil, fmt.Errorf("header %q cannot be removed from answers", name)
		}
		a.Remove = append(a.Remove, textproto.CanonicalMIMEHeaderKey(name))
	}
	switch {
	case len(spec.FrameOrigins) > 0:
		a.ancestors = "frame-ancestors 'self' " + strings.Join(spec.FrameOrigins, " ")
	case spec.Frames == FramesNobody:
		a.ancestors = "frame-ancestors 'none'"
	}
	for _, origin := range spec.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("%q is no origin of a tool", origin)
		}
		a.moved[originOf(u)] = true
	}
	for _, backend := range backends {
		a.moved[originOf(backend)] = true
	}
	return a, nil
}

// originOf is the origin of u in one form: lower-case, with its port.
func originOf(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	switch {
	case scheme == "":
		scheme = "https" // what a page of ours is loaded with
		fallthrough
	case scheme == "https" && port == "":
		if port == "" {
			port = "443"
		}
	case scheme == "http" && port == "":
		port = "80"
	}
	return scheme + "://" + strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) + ":" + port
}

// Lines that are added to answers. They are shared, and never written to.
var (
	lineTransport = []string{portal.StrictTransport}
	lineNoSniff   = []string{"nosniff"}
	lineFrames    = []string{"SAMEORIGIN"}
	lineReferrer  = []string{"strict-origin-when-cross-origin"}
)

// protect says for the tool what it has not said itself: over TLS alone, no guessing
// of types, no frames of strangers, and no paths for strangers in Referer. Then it does
// what the operator wants otherwise.
func (a *answers) protect(h http.Header) {
	if said := h["Strict-Transport-Security"]; len(said) == 0 || switchesOff(said[0]) {
		h["Strict-Transport-Security"] = lineTransport
	}
	if h["X-Content-Type-Options"] == nil {
		h["X-Content-Type-Options"] = lineNoSniff
	}
	if h["Referrer-Policy"] == nil {
		h["Referrer-Policy"] = lineReferrer
	}
	a.guardFrames(h)
	for name, values := range a.set {
		h[name] = values
	}
	for _, name := range a.Remove {
		delete(h, name)
	}
}

// switchesOff reports whether a Strict-Transport-Security makes browsers forget it
// (RFC 6797 section 6.1.1): a tool does not know that it is reached over TLS.
func switchesOff(line string) bool {
	for directive := range strings.SplitSeq(line, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if strings.EqualFold(strings.TrimSpace(name), "max-age") {
			return strings.Trim(value, ` "0`) == ""
		}
	}
	return true
}

// guardFrames says who may show the tool in a frame. A further line of
// Content-Security-Policy only ever restricts, so what the tool says about frames is
// taken out of its own where the operator has said who may.
func (a *answers) guardFrames(h http.Header) {
	if a.ancestors != "" {
		delete(h, "X-Frame-Options")
		lines := slices.DeleteFunc(withoutAncestors(h["Content-Security-Policy"]), func(line string) bool { return line == "" })
		h["Content-Security-Policy"] = append(lines, a.ancestors)
		return
	}
	if a.Frames == FramesTool || h["X-Frame-Options"] != nil || saysAncestors(h["Content-Security-Policy"]) {
		return
	}
	h["X-Frame-Options"] = lineFrames
}

// saysAncestors reports whether a policy says who may show the page in a frame.
func saysAncestors(lines []string) bool {
	return slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(strings.ToLower(line), "frame-ancestors") })
}

// withoutAncestors returns policies without what they say about frames. One header
// may hold several, parted by commas, which stand nowhere else in a policy (CSP level
// 3, section 2.2.2).
func withoutAncestors(lines []string) []string {
	var kept []string
	for _, line := range lines {
		for policy := range strings.SplitSeq(line, ",") {
			var directives []string
			for directive := range strings.SplitSeq(policy, ";") {
				directive = strings.TrimSpace(directive)
				name, _, _ := strings.Cut(directive, " ")
				if directive != "" && !strings.EqualFold(name, "frame-ancestors") {
					directives = append(directives, directive)
				}
			}
			kept = append(kept, strings.Join(directives, "; "))
		}
	}
	return kept
}

// relocate has Location, Content-Location and Refresh lead to the public origin where
// they lead to one of the tool's own, which no browser reaches.
func (a *answers) relocate(h http.Header, at *place) {
	for _, name := range [...]string{"Location", "Content-Location"} {
		if lines := h[name]; len(lines) == 1 {
			lines[0] = a.moveTo(lines[0], at)
		}
	}
	if lines := h["Refresh"]; len(lines) == 1 {
		if from := strings.Index(strings.ToLower(lines[0]), "url="); from >= 0 {
			lines[0] = lines[0][:from+4] + a.moveTo(lines[0][from+4:], at)
		}
	}
}

// leadsToTool reports whether u is where no browser reaches the tool: at one of its own
// origins, or at the public host in the clear.
func (a *answers) leadsToTool(u *url.URL, at *place) bool {
	origin := originOf(u)
	if strings.HasPrefix(origin, "http://") && strings.EqualFold(strings.TrimSuffix(u.Hostname(), "."), at.Host) {
		return true
	}
	return a.moved[origin] && u.Host != at.authority
}

// moveTo returns where location leads in a browser. What follows the host stays as it
// came, byte for byte.
func (a *answers) moveTo(location string, at *place) string {
	u, err := url.Parse(location)
	switch {
	case err != nil:
		return location
	case u.Host != "":
		if u.User != nil || !a.leadsToTool(u, at) {
			return location
		}
		_, rest, _ := strings.Cut(location, "//")
		if path := strings.IndexAny(rest, "/?#"); path >= 0 {
			rest = rest[path:]
		} else {
			rest = ""
		}
		if a.Prefix != "" && (rest == "" || rest[0] != '/') {
			rest = "/" + rest
		}
		return at.origin + a.outside(rest)
	case strings.HasPrefix(location, "/"):
		return a.outside(location)
	}
	return location
}

// outside is a path of the tool as the browser knows it. A tool that was told of the
// prefix (X-Forwarded-Prefix) has written it already.
func (a *answers) outside(path string) string {
	if a.Prefix == "" || path == a.Prefix || strings.HasPrefix(path, a.Prefix+"/") || strings.HasPrefix(path, a.Prefix+"?") {
		return path
	}
	return a.Prefix + path
}

// confine keeps a tool's cookies to its own host: with Domain, they would reach every
// tool of the domain and the door, where they stand in for others of the same name
// (cookie tossing) or fill a request until it is refused.
func (a *answers) confine(h http.Header) {
	lines := h["Set-Cookie"]
	for i, line := range lines {
		if !strings.Contains(line, ";") {
			continue
		}
		lines[i] = a.confined(line)
	}
}

// confined is one Set-Cookie line as it reaches the browser.
func (a *answers) confined(line string) string {
	changed := false
	parts := strings.Split(line, ";")
	kept := parts[:1]
	for _, attribute := range parts[1:] {
		name, value, _ := strings.Cut(attribute, "=")
		value = strings.Trim(value, blanks)
		switch name = strings.Trim(name, blanks); {
		case strings.EqualFold(name, "domain") && !a.UnsafeCookieDomain:
			changed = true
			continue
		case strings.EqualFold(name, "path") && a.Prefix != "" && strings.HasPrefix(value, "/"):
			attribute, changed = " Path="+strings.TrimSuffix(a.outside(value), "/"), true
		}
		kept = append(kept, attribute)
	}
	if !changed {
		return line
	}
	return strings.Join(kept, ";")
}

// blanks is what some client trims from an attribute of a cookie.
const blanks = " \t\v\f\r\n\x00"
