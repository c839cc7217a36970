package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/listen"
)

// maxForwarders is how many proxies a request may have come by.
const maxForwarders = 16

// serveForwarded answers a request that a trusted proxy may have passed on: to
// everything that comes after, it is the client's own.
func (g *Gateway) serveForwarded(w http.ResponseWriter, r *http.Request) {
	client, fault := g.clientOf(r)
	proxy := ""
	if client != "" && client != r.RemoteAddr {
		proxy, _, _ = net.SplitHostPort(r.RemoteAddr)
		from := *r
		from.RemoteAddr = client
		r = &from
	}
	g.recorder.Serve(w, r, func(ex *exchange, r *http.Request) {
		ex.Record.Proxy = proxy
		if fault != nil {
			ex.Record.RequestID = newRequestID()
			g.refuse(ex, r, refusal{
				status: http.StatusBadRequest, reason: "client_address", cause: fault,
				title: "That cannot be served", message: "A proxy in between does not say where this request comes from. Its operators can see why.",
			})
			return
		}
		g.serve(ex, r)
	})
}

// clientOf is the address, with its port if that is known, of whoever a request comes
// from. Each proxy adds on the right whom it was asked by, so the entries are looked at
// from there, for as long as it is a trusted proxy that has written them: the first
// address that is none is the client's. What stands left of it is the client's own
// invention, and is not looked at. An entry that is no address, where one counts, is a
// fault: nobody may choose to be somebody else, or nobody.
func (g *Gateway) clientOf(r *http.Request) (string, error) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !listen.Contains(g.cfg.TrustedProxies, peer.Addr()) {
		return "", nil //nolint:nilerr // a peer without an address is believed nothing
	}
	client, seen := "", 0
	lines := r.Header[header.ForwardedFor]
	for i := len(lines) - 1; i >= 0; i-- {
		rest, more := lines[i], true
		for more {
			var entry string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, entry = rest[:at], rest[at+1:]
			} else {
				entry, more = rest, false
			}
			addr, port, err := forwarder(strings.Trim(entry, " \t"))
			if err != nil {
				return "", err
			}
			client = net.JoinHostPort(addr.String(), port)
			if !listen.Contains(g.cfg.TrustedProxies, addr) {
				return client, nil
			}
			if seen++; seen == maxForwarders {
				return "", fmt.Errorf("%s has more than %d trusted proxies", header.ForwardedFor, maxForwarders)
			}
		}
	}
	return client, nil // all of them are proxies of ours: the first one asks for itself
}

// forwarder reads an entry of X-Forwarded-For: an address, which some proxies give a
// port and some put into brackets.
func forwarder(entry string) (addr netip.Addr, port string, err error) {
	if addr, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]")); err != nil {
		var both netip.AddrPort
		if both, err = netip.ParseAddrPort(entry); err == nil {
			addr, port = both.Addr(), fmt.Sprint(both.Port())
		}
	}
	if err != nil || addr.Zone() != "" {
		return addr, "", errors.New("an entry of " + header.ForwardedFor + " that counts is no address")
	}
	return addr.Unmap(), port, nil
}
