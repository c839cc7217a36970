package proxy

import (
	"fmt"
	"net/http"
	"strings"
)

// normalHost is a Host header, or a name of SNI, in the form that routes are written
// in: lower-case, without port and without one trailing dot. It reports false for a
// port that is no number (RFC 9110 section 7.2). Only ASCII letters are folded: every
// other name stays what it is, and is nobody's.
func normalHost(host string) (string, bool) {
	name, port, found := strings.Cut(host, ":")
	if found && (port == "" || len(port) > 5 || strings.ContainsFunc(port, func(c rune) bool { return c < '0' || c > '9' })) {
		return host, false
	}
	return lower(strings.TrimSuffix(name, ".")), true
}

// lower is name with its ASCII letters in lower case. strings.ToLower also folds
// letters of other alphabets into ASCII: the Kelvin sign into "k".
func lower(name string) string {
	for i := range len(name) {
		if c := name[i]; c >= 'A' && c <= 'Z' {
			folded := []byte(name)
			for j := i; j < len(folded); j++ {
				if c := folded[j]; c >= 'A' && c <= 'Z' {
					folded[j] = c + 'a' - 'A'
				}
			}
			return string(folded)
		}
	}
	return name
}

// misdirected reports whether r has come over a connection that was made to another
// host: one certificate may be for several, and a browser may then use its connection
// to the one for the other (RFC 9110 section 7.4). Whatever is decided by the one name
// and whatever by the other would part (CVE-2026-32305, CVE-2026-48491). host is
// normalised. Where the client named no host when it connected, the request's counts.
func misdirected(r *http.Request, host string) bool {
	if r.TLS == nil || r.TLS.ServerName == "" || r.TLS.ServerName == host {
		return false
	}
	name, _ := normalHost(r.TLS.ServerName)
	return name != host
}

// refuseMisdirected has a browser make a connection of its own for this host, and then
// ask again (RFC 9110 section 15.5.20).
func (g *Gateway) refuseMisdirected(ex *exchange, r *http.Request) {
	g.refuse(ex, r, refusal{
		status: http.StatusMisdirectedRequest, reason: "sni_mismatch",
		title: "Open this page again", message: "Your browser asked for this page over a connection to another address. Open it again.",
		cause: fmt.Errorf("the connection was made to %.100q", r.TLS.ServerName),
	})
}

// serveHost answers for a host that routes have.
func (g *Gateway) serveHost(ex *exchange, r *http.Request, host string) {
	s := g.table.site(host)
	if s == nil {
		g.refuse(ex, r, refusal{
			status: http.StatusMisdirectedRequest, reason: "unknown_host",
			title: "There is no tool here", message: "No tool is known under this address. Check it, or start from your list of tools.",
			link: g.door + "/", text: "Your tools",
		})
		return
	}
	if path, reserved := strings.CutPrefix(r.URL.Path, reservedPrefix); reserved {
		rt := g.frontOf(host)
		ex.Record.Route = rt.Name
		g.serveReserved(ex, r, rt, path)
		return
	}
	rt, rf := g.locate(r, s, host)
	if rf != nil {
		g.refuse(ex, r, *rf)
		return
	}
	g.noteRoute(ex, r, rt.route)
	g.serveTool(ex, r, rt)
}

// locate returns where at a host r wants to go, or why there is nothing.
func (g *Gateway) locate(r *http.Request, s *site, host string) (*place, *refusal) {
	if !s.decisive {
		return g.place(s.routes[0], host, 0), nil
	}
	path, ok := judgedPath(r.URL)
	if !ok {
		return nil, &refusal{
			status: http.StatusBadRequest, reason: "path_ambiguous",
			title: "That address is not clear", message: "The address of this page is written in a way that different servers read differently. Open the tool again, and go on from there.",
			link: g.frontOf(host).url(), text: "Start again",
		}
	}
	rt := g.placeOf(host, r.Method, path)
	switch {
	case rt == nil:
		return nil, &refusal{
			status: http.StatusNotFound, reason: "no_route",
			title: "There is no tool here", message: "No tool is known under this path. Check the address, or start from your list of tools.",
			link: g.door + "/", text: "Your tools",
		}
	case rt.StripPath && strings.HasPrefix(stripped(path, rt.Path), reservedPrefix):
		return nil, g.nowhere() // no backend ever sees one of our paths
	}
	return rt, nil
}
