package upstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/upstream"
)

// With Go's default of two idle connections, nearly every request of 64 clients
// shakes hands.
func TestManyClientsShakeHandsOnceEach(t *testing.T) {
	const clients, rounds = 64, 50
	for _, protocol := range []upstream.Protocol{upstream.HTTP1, upstream.HTTP2, upstream.Auto} {
		t.Run(string(protocol), func(t *testing.T) {
			a := newAuthority(t)
			together := newMeeting(clients)
			s := a.start(true, together.ServeHTTP)
			p, _ := a.newPool(upstream.Options{Protocol: protocol}, s.url)
			var asking, first sync.WaitGroup // nobody begins his second before all had their first
			first.Add(clients)
			for range clients {
				asking.Go(func() {
					for i := range rounds {
						if status, _, err := ask(p, request(t.Context(), http.MethodGet, "")); status != http.StatusOK {
							t.Errorf("answer %d, %v", status, err)
						}
						if i == 0 {
							first.Done()
							first.Wait()
						}
					}
				})
			}
			asking.Wait()
			// net/http gives a connection up whose writer was not given a turn for 50 ms, and
			// then dials more than it needs: on a machine that has much else to do, a few more.
			if n := s.handshakes.Load(); n > clients+clients*rounds/20 {
				t.Errorf("%d handshakes for %d requests, want %d", n, s.requests.Load(), clients)
			} else if n > clients {
				t.Logf("%d handshakes in place of %d", n, clients)
			}
			if n := s.requests.Load(); n != clients*rounds {
				t.Errorf("%d requests came, want %d", n, clients*rounds)
			}
		})
	}
}

func TestProtocolIsTheOneAskedFor(t *testing.T) {
	tests := []struct {
		asked   upstream.Protocol
		offered bool // h2
		want    string
	}{
		{"", true, "HTTP/1.1"},
		{upstream.HTTP1, true, "HTTP/1.1"},
		{upstream.HTTP2, true, "HTTP/2.0"},
		{upstream.HTTP2, false, ""},
		{upstream.Auto, true, "HTTP/2.0"},
		{upstream.Auto, false, "HTTP/1.1"},
	}
	for _, test := range tests {
		a := newAuthority(t)
		s := a.start(test.offered, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, r.Proto+" "+string(body))
		})
		p, _ := a.newPool(upstream.Options{Protocol: test.asked}, s.url)
		_, got, err := ask(p, request(t.Context(), http.MethodPost, "body"))
		if test.want == "" {
			if err == nil || !strings.Contains(err.Error(), "no application protocol") || p.Status()[0].Healthy {
				t.Errorf("%s of a sidecar that does not offer it: %q, %v, %+v", test.asked, got, err, p.Status())
			}
			continue
		}
		if err != nil || got != test.want+" body" {
			t.Errorf("asked for %q, offered h2 %t: %q, %v, want %s", test.asked, test.offered, got, err, test.want)
		}
	}
}

// upgrade answers a WebSocket with what it is sent, as lines.
func upgrade(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || r.Header.Get("Upgrade") != "websocket" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	line, _ := buffered.ReadString('\n')
	_, _ = io.WriteString(conn, "echo "+line)
}

func TestWebSocketGoesOverHTTP1WhateverIsSpoken(t *testing.T) {
	for _, protocol := range []upstream.Protocol{upstream.HTTP1, upstream.HTTP2, upstream.Auto} {
		a := newAuthority(t)
		s := a.start(true, upgrade)
		p, _ := a.newPool(upstream.Options{Protocol: protocol}, s.url)
		r := request(t.Context(), http.MethodGet, "")
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		res, err := p.RoundTrip(r)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: %v, %v", protocol, res, err)
		}
		if n := p.Status()[0].InFlight; n != 1 {
			t.Errorf("%s: %d under way while it is open", protocol, n)
		}
		stream, ok := res.Body.(io.ReadWriteCloser)
		if !ok {
			t.Fatalf("%s: a body that cannot be written to", protocol)
		}
		_, _ = io.WriteString(stream, "hello\n")
		if line, err := bufio.NewReader(stream).ReadString('\n'); line != "echo hello\n" {
			t.Errorf("%s: %q, %v", protocol, line, err)
		}
		stream.Close()
		if n := p.Status()[0].InFlight; n != 0 {
			t.Errorf("%s: %d under way after it was closed", protocol, n)
		}
	}
}

// A renewed certificate is shown on the next request, also where one connection
// carries everything and is never idle; what it carries goes on.
func TestNewRequestsShakeHandsAnewAfterARenewal(t *testing.T) {
	for _, protocol := range []upstream.Protocol{upstream.HTTP1, upstream.HTTP2} {
		a := newAuthority(t)
		begun, goOn := make(chan struct{}), make(chan struct{})
		s := a.start(true, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				close(begun)
				<-goOn
			}
			_, _ = io.WriteString(w, r.RemoteAddr)
		})
		p, _ := a.newPool(upstream.Options{Protocol: protocol}, s.url)
		_, before, _ := ask(p, request(t.Context(), http.MethodGet, ""))
		slow := make(chan error, 1)
		go func() { _, _, err := ask(p, request(t.Context(), http.MethodPut, "")); slow <- err }()
		<-begun
		p.CloseIdleConnections()
		_, after, err := ask(p, request(t.Context(), http.MethodGet, ""))
		if err != nil || after == before {
			t.Errorf("%s: asked over %s before and %s after, %v", protocol, before, after, err)
		}
		close(goOn)
		if err := <-slow; err != nil {
			t.Errorf("%s: what was under way: %v", protocol, err)
		}
	}
}

// An upstream that is shut down in an orderly way, again and again, costs no
// request that can be repeated.
func TestShutdownOfAnUpstreamCostsNoRequest(t *testing.T) {
	for _, protocol := range []upstream.Protocol{upstream.HTTP1, upstream.HTTP2} {
		t.Run(string(protocol), func(t *testing.T) {
			a := newAuthority(t)
			stays := a.start(true, say("stays"))
			goes := a.start(true, say("goes"))
			p, _ := a.newPool(upstream.Options{Protocol: protocol}, stays.url, goes.url)
			ctx, stop := context.WithCancel(t.Context())
			var asking sync.WaitGroup
			var asked atomic.Int64
			for range 16 {
				asking.Go(func() {
					for ctx.Err() == nil {
						if status, body, err := ask(p, request(t.Context(), http.MethodGet, "")); status != http.StatusOK || err != nil {
							t.Errorf("answer %d %q, %v", status, body, err)
						}
						asked.Add(1)
					}
				})
			}
			for goes.requests.Load() < 200 {
				<-time.After(time.Millisecond)
			}
			end, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := goes.Config.Shutdown(end); err != nil {
				t.Errorf("shutting down: %v", err)
			}
			for until := asked.Load() + 200; asked.Load() < until; {
				<-time.After(time.Millisecond)
			}
			stop()
			asking.Wait()
			if status := p.Status()[1]; status.Healthy {
				t.Errorf("%+v, want one that is put aside", status)
			}
		})
	}
}

// No answer comes from anybody but the tool's own sidecars: not even to a probe.
func TestNobodyButThePinnedNameIsSpokenTo(t *testing.T) {
	a := newAuthority(t)
	stranger := a.startAs("other.backend.test", true, say("stranger"))
	foreign := newAuthority(t).start(true, say("foreign"))
	for _, at := range []*url.URL{stranger.url, foreign.url} {
		for _, protocol := range []upstream.Protocol{upstream.HTTP1, upstream.HTTP2, upstream.Auto} {
			p, _ := a.newPool(upstream.Options{
				Protocol: protocol,
				Health:   upstream.Health{Path: "/", Interval: time.Millisecond, Timeout: time.Second, Unhealthy: 1, Healthy: 1},
			}, at)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { p.Run(ctx); close(ended) }()
			if _, body, err := ask(p, request(t.Context(), http.MethodPost, "secret")); err == nil {
				t.Errorf("%s: answered %q", protocol, body)
			}
			for p.Status()[0].Healthy {
				<-time.After(time.Millisecond)
			}
			stop()
			<-ended
		}
	}
	if stranger.requests.Load()+foreign.requests.Load() != 0 {
		t.Error("a request reached somebody without the pinned name")
	}
}

// A sidecar lets nobody in without our certificate; it tells us after our side of
// the handshake, so that it may look like a connection.
func TestSidecarThatRefusesOurCertificateIsAnError(t *testing.T) {
	a := newAuthority(t)
	s := a.start(false, say("in"))
	bare := &tls.Config{RootCAs: a.pool, ServerName: pinned, MinVersion: tls.VersionTLS13}
	p, err := upstream.New(upstream.Config{Route: "tool", Upstreams: []*url.URL{s.url}, TLS: bare})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Retire()
	if status, body, err := ask(p, request(t.Context(), http.MethodGet, "")); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("answer %d %q, %v", status, body, err)
	}
	if s.requests.Load() != 0 {
		t.Error("a request came in without a certificate")
	}
}
