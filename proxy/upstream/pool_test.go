package upstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/upstream"
)

func TestNewRefusesWhatCannotBeReached(t *testing.T) {
	at := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	good := upstream.Config{Route: "a", TLS: &tls.Config{MinVersion: tls.VersionTLS13}, Upstreams: []*url.URL{at("https://one:8443"), at("https://two:8443")}}
	tests := []struct {
		name   string
		change func(*upstream.Config)
		want   string
	}{
		{"nothing wrong", func(*upstream.Config) {}, ""},
		{"no TLS", func(c *upstream.Config) { c.TLS = nil }, `route "a" has no TLS configuration`},
		{"nobody", func(c *upstream.Config) { c.Upstreams = nil }, `route "a" has 0 backends`},
		{"too many", func(c *upstream.Config) { c.Upstreams = make([]*url.URL, upstream.MaxUpstreams+1) }, `has 33 backends, expected 1 to 32`},
		{"one in the clear", func(c *upstream.Config) { c.Upstreams = []*url.URL{at("https://one"), at("http://two")} }, `has backend http://two, expected https://`},
		{"none where one should be", func(c *upstream.Config) { c.Upstreams = []*url.URL{nil} }, `has backend <nil>`},
		{"one twice", func(c *upstream.Config) { c.Upstreams = []*url.URL{at("https://one:1"), at("https://one:1")} }, `has backend https://one:1 twice`},
		{"all draining", func(c *upstream.Config) { c.Draining = []string{"one:8443", "two:8443"} }, `no backend that is not draining`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := good
			test.change(&cfg)
			_, err := upstream.New(cfg)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("New: %v, want %q", err, test.want)
			}
		})
	}
}

// meeting is a handler at which as many requests wait for each other as it takes.
type meeting struct {
	mu   sync.Mutex
	here int
	all  int
	come chan struct{} // each
	open chan struct{}
}

func newMeeting(n int) *meeting {
	return &meeting{all: n, come: make(chan struct{}, n), open: make(chan struct{})}
}

func (m *meeting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	if m.here++; m.here == m.all {
		close(m.open)
	}
	m.mu.Unlock()
	select {
	case m.come <- struct{}{}:
	default: // as many have come as were waited for
	}
	select {
	case <-m.open:
		_, _ = io.WriteString(w, "met")
	case <-r.Context().Done():
	}
}

func TestRequestsGoToTheUpstreamWithTheFewest(t *testing.T) {
	a := newAuthority(t)
	together := newMeeting(9)
	var at []*url.URL
	var sidecars []*sidecar
	for range 3 {
		s := a.start(false, together.ServeHTTP)
		sidecars, at = append(sidecars, s), append(at, s.url)
	}
	p, _ := a.newPool(upstream.Options{}, at...)
	var asking sync.WaitGroup
	for range 9 {
		asking.Go(func() {
			if status, _, err := ask(p, request(t.Context(), http.MethodGet, "")); status != http.StatusOK {
				t.Errorf("answer %d, %v", status, err)
			}
		})
		<-together.come // two that choose at the same instant may see the same numbers
	}
	asking.Wait()
	for _, s := range sidecars {
		if n := s.requests.Load(); n != 3 {
			t.Errorf("an upstream had %d of 9 requests at once, want 3", n)
		}
	}
	for _, s := range p.Status() {
		if s.InFlight != 0 {
			t.Errorf("%s has %d requests under way after the last answer", s.Address, s.InFlight)
		}
	}
}

// A session stays where it is; when that upstream is gone, only its sessions move.
func TestStickySessionsStayAndMoveAlone(t *testing.T) {
	a := newAuthority(t)
	var at []*url.URL
	sidecars := map[string]*sidecar{}
	for i := range 3 {
		s := a.start(false, say(fmt.Sprint(i)))
		at, sidecars[fmt.Sprint(i)] = append(at, s.url), s
	}
	p, _ := a.newPool(upstream.Options{Sticky: true}, at...)
	home := map[string]string{}
	where := func(session string) string {
		_, body, err := ask(p, request(context.WithValue(t.Context(), sessionKey{}, session), http.MethodGet, ""))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	count := map[string]int{}
	for i := range 90 {
		session := fmt.Sprintf("session-%d", i)
		home[session] = where(session)
		count[home[session]]++
	}
	for upstream, n := range count {
		if n < 15 || len(count) != 3 {
			t.Errorf("upstream %s is home to %d of 90 sessions: %v", upstream, n, count)
		}
	}
	for session, at := range home {
		if got := where(session); got != at {
			t.Errorf("%s moved from %s to %s", session, at, got)
		}
	}
	// Another process ranks alike.
	other, _ := a.newPool(upstream.Options{Sticky: true}, at[2], at[0], at[1])
	for session, at := range home {
		_, body, err := ask(other, request(context.WithValue(t.Context(), sessionKey{}, session), http.MethodGet, ""))
		if err != nil || body != at {
			t.Errorf("another pool sends %s to %s, %v, want %s", session, body, err, at)
		}
	}
	sidecars["1"].Close()
	for session, at := range home {
		if got := where(session); at != "1" && got != at || got == "1" {
			t.Errorf("with 1 gone, %s moved from %s to %s", session, at, got)
		}
	}
}

func TestDrainingUpstreamGetsNoNewRequests(t *testing.T) {
	a := newAuthority(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	one := a.start(false, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-goOn
		_, _ = io.WriteString(w, "whole")
	})
	two := a.start(false, say("two"))
	dial := a.dial()
	make2 := func(o upstream.Options, at ...*url.URL) *upstream.Pool {
		p, err := upstream.New(upstream.Config{Route: "tool", Upstreams: at, TLS: dial, Options: o})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Retire)
		return p
	}
	first := make2(upstream.Options{Draining: []string{two.address()}}, one.url, two.url)
	slow := make(chan string, 1)
	go func() {
		_, body, err := ask(first, request(t.Context(), http.MethodGet, ""))
		slow <- fmt.Sprint(body, err)
	}()
	<-begun

	draining := make2(upstream.Options{Draining: []string{one.address()}}, one.url, two.url)
	draining.TakeOver(first)
	first.Retire()
	for range 20 {
		if _, body, err := ask(draining, request(t.Context(), http.MethodPost, "x")); err != nil || body != "two" {
			t.Fatalf("a new request: %q, %v", body, err)
		}
	}
	if s := draining.Status()[0]; !s.Draining || s.InFlight != 1 {
		t.Errorf("the draining upstream: %+v, want one request under way", s)
	}
	removed := make2(upstream.Options{}, two.url)
	removed.TakeOver(draining)
	draining.Retire()
	close(goOn)
	if got := <-slow; got != "whole<nil>" {
		t.Errorf("what was under way ended with %s", got)
	}
	if s := draining.Status()[0]; s.InFlight != 0 {
		t.Errorf("the drained upstream: %+v, want nothing under way", s)
	}
	if two.handshakes.Load() > 2 { // one, or a second that was made while the first was not back yet
		t.Errorf("%d handshakes with an upstream that stayed the same", two.handshakes.Load())
	}
}

func TestUpstreamTakesNoMoreThanItMay(t *testing.T) {
	a := newAuthority(t)
	goOn := make(chan struct{})
	begun := make(chan struct{}, 4)
	hold := func(http.ResponseWriter, *http.Request) { begun <- struct{}{}; <-goOn }
	one, two := a.start(false, hold), a.start(false, hold)
	p, _ := a.newPool(upstream.Options{MaxRequests: 2}, one.url, two.url)
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() { _, _, _ = ask(p, request(t.Context(), http.MethodGet, "")) })
	}
	for range 4 {
		<-begun
	}
	body := &closing{Reader: strings.NewReader("x")}
	r := request(t.Context(), http.MethodPost, "x")
	r.Body = body
	if _, _, err := ask(p, r); !errors.Is(err, upstream.ErrBusy) || !body.closed {
		t.Errorf("one too many: %v, body closed %t", err, body.closed)
	}
	close(goOn)
	asking.Wait()
	if one.requests.Load() != 2 || two.requests.Load() != 2 {
		t.Errorf("%d and %d requests, want 2 each", one.requests.Load(), two.requests.Load())
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

// Connections of an upstream that is gone from the configuration do not wait for
// their idle time.
func TestRetiredPoolLetsItsConnectionsGo(t *testing.T) {
	a := newAuthority(t)
	one := a.start(false, say("one"))
	p, _ := a.newPool(upstream.Options{}, one.url)
	if _, _, err := ask(p, request(t.Context(), http.MethodGet, "")); err != nil {
		t.Fatal(err)
	}
	p.Retire()
	select {
	case <-one.ended:
	case <-time.After(4 * time.Second):
		t.Error("the connection is still there")
	}
}
