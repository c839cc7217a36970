package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/proxy/relay"
)

// dialect is how one kind of ingress asks, and wants to be answered.
type dialect struct {
	name string
	// read finds the request that is asked about: its method, its host, and its target
	// as it stood in the request line.
	read func(r *http.Request) (method, host, target string, err error)
	// wrap, if not nil, puts the answer into the statuses that the ingress knows.
	wrap func(http.ResponseWriter) http.ResponseWriter
	// says are the headers among those of [header.Overrides] in which the ingress says
	// what it asks about.
	says []string
	// removes says that the ingress removes the headers that it is told to.
	removes bool
}

// The paths at which an ingress asks.
const (
	askNginx   = "/auth/nginx"
	askTraefik = "/auth/traefik"
	askCaddy   = "/auth/caddy"
	askEnvoy   = "/auth/envoy"
)

// The headers in which nginx says what it asks about.
const (
	originalMethod = "X-Original-Method"
	originalURL    = "X-Original-Url"
)

// dialectOf returns the dialect of a question by the target in its request line, to
// the letter; nil for none. A query says nothing: Caddy adds the client's.
func dialectOf(target string) *dialect {
	path, _, _ := strings.Cut(target, "?")
	switch {
	case path == askNginx:
		return &dialect{name: "nginx", read: readNginx, wrap: newNginxAnswer, says: []string{originalMethod, originalURL}}
	case path == askTraefik:
		return &dialect{name: "traefik", read: readForwarded}
	case path == askCaddy:
		return &dialect{name: "caddy", read: readForwarded}
	case strings.HasPrefix(target, askEnvoy+"/"):
		return &dialect{name: "envoy", read: readEnvoy, removes: true}
	}
	return nil
}

// readNginx: auth_request asks with GET and the client's headers; the configuration
// adds two.
func readNginx(r *http.Request) (method, host, target string, err error) {
	if method, err = sole(r.Header, originalMethod); err != nil {
		return "", "", "", err
	}
	whole, err := sole(r.Header, originalURL)
	if err != nil {
		return "", "", "", err
	}
	rest, https := strings.CutPrefix(whole, "https://")
	if !https {
		return "", "", "", fmt.Errorf("X-Original-URL is %.100q, expected https://HOST/…: a session is never sent in the clear", whole)
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return "", "", "", fmt.Errorf("X-Original-URL is %.100q, expected a path in it", whole)
	}
	return method, rest[:slash], rest[slash:], nil
}

// readForwarded: Traefik and Caddy set these headers themselves, whatever the client
// has sent.
func readForwarded(r *http.Request) (method, host, target string, err error) {
	values := map[string]string{"X-Forwarded-Method": "", "X-Forwarded-Proto": "", "X-Forwarded-Host": "", "X-Forwarded-Uri": ""}
	for name := range values {
		if values[name], err = sole(r.Header, name); err != nil {
			return "", "", "", err
		}
	}
	if proto := values["X-Forwarded-Proto"]; proto != "https" && proto != "wss" { // Traefik's word for a WebSocket
		return "", "", "", fmt.Errorf("X-Forwarded-Proto is %.20q, expected https: a session is never sent in the clear", proto)
	}
	return values["X-Forwarded-Method"], values["X-Forwarded-Host"], values["X-Forwarded-Uri"], nil
}

// readEnvoy: ext_authz asks with the request's own method, host and target, which a
// prefix precedes.
func readEnvoy(r *http.Request) (method, host, target string, err error) {
	if proto := r.Header.Values("X-Forwarded-Proto"); len(proto) > 1 || len(proto) == 1 && proto[0] != "https" {
		return "", "", "", fmt.Errorf("X-Forwarded-Proto is %.100q, expected https: a session is never sent in the clear", proto)
	}
	return r.Method, r.Host, strings.TrimPrefix(r.RequestURI, askEnvoy), nil
}

// sole returns the value of a header that has to have exactly one: of two, an ingress
// and we might each believe another.
func sole(h http.Header, name string) (string, error) {
	if n := len(h[name]); n != 1 {
		return "", fmt.Errorf("%s is there %d times, expected once", name, n)
	}
	return h[name][0], nil
}

// asked returns the request that r asks about. It has no body: what there is of one
// stays with the ingress.
func (d *dialect) asked(r *http.Request) (*http.Request, error) {
	method, host, target, err := d.read(r)
	if err != nil {
		return nil, err
	}
	u, err := targetAsked(target)
	if err != nil {
		return nil, err
	}
	asked := &http.Request{
		Method: method, URL: u, RequestURI: target, Host: host, Header: r.Header.Clone(),
		Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, RemoteAddr: r.RemoteAddr,
	}
	// Upgrade is for one connection, so an ingress keeps it to itself; what a browser
	// sends with it is not.
	socket := relay.Upgrade(r) != "" || len(r.Header["Sec-Websocket-Key"])+len(r.Header["Sec-Websocket-Version"]) > 0
	delete(asked.Header, "Connection")
	delete(asked.Header, "Upgrade")
	if socket {
		asked.Header["Connection"], asked.Header["Upgrade"] = []string{"Upgrade"}, []string{relay.WebSocket}
	}
	return asked.WithContext(r.Context()), nil
}

var errTarget = errors.New("expected a path, with a query or without")

// targetAsked parses the target of a request that is asked about. It refuses what the
// ingress or the tool might read in another way than we do: their reading would be
// what counts, and ours what was judged.
func targetAsked(target string) (*url.URL, error) {
	path, _, _ := strings.Cut(target, "?")
	strange := strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '#' })
	if strange || path == "" || path[0] != '/' || strings.ContainsRune(path, '\\') {
		return nil, fmt.Errorf("target %.200q: %w", target, errTarget)
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || u.Host != "" || u.Path == "" {
		return nil, errors.Join(fmt.Errorf("target %.200q: %w", target, errTarget), err)
	}
	if climbs(u.Path) {
		return nil, fmt.Errorf("target %.200q has a segment of dots: %w without such", target, errTarget)
	}
	return u, nil
}

// climbs reports whether a segment of a path means another directory to some server.
func climbs(path string) bool {
	for segment := range strings.SplitSeq(strings.ReplaceAll(path, `\`, "/"), "/") {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." { // Java servers drop what follows ";"
			return true
		}
	}
	return false
}

// clientAsked is whom the ingress has the request from: the last address in
// X-Forwarded-For, which it has added itself.
func clientAsked(h http.Header) (string, bool) {
	lines := h["X-Forwarded-For"]
	if len(lines) == 0 {
		return "", false
	}
	last := lines[len(lines)-1]
	address, _, err := forwarder(strings.Trim(last[strings.LastIndexByte(last, ',')+1:], " \t"))
	return address.String(), err == nil
}
