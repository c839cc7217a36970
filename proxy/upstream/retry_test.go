package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/upstream"
)

// A connection that is not made has taken nothing: whatever the request is, and
// whatever the reason.
func TestRequestThatWasNotSentGoesElsewhere(t *testing.T) {
	a := newAuthority(t)
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	bad := map[string]*url.URL{
		"nobody listens":            nobody(t, 1)[0],
		"another name":              a.startAs("other.backend.test", false, say("stranger")).url,
		"another authority":         newAuthority(t).start(false, say("stranger")).url,
		"nothing comes of the hand": {Scheme: "https", Host: silent.Addr().String()},
	}
	good := a.start(false, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Method+" "+r.RequestURI+" "+string(body))
	})
	for name, at := range bad {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			t.Run(name+" "+method, func(t *testing.T) {
				p, notes := a.newPool(upstream.Options{ConnectTimeout: 200 * time.Millisecond}, at, good.url)
				for range 2 { // one of them is sent to at first
					body := ""
					if method != http.MethodGet {
						body = "the whole body"
					}
					want := method + " /path?q=1 " + body
					if status, got, err := ask(p, request(t.Context(), method, body)); err != nil || status != http.StatusOK || got != want {
						t.Errorf("answer %d %q, %v, want %q", status, got, err, want)
					}
				}
				if last := notes.last(); last[len(last)-1] != good.address() {
					t.Errorf("the attempts %v do not end at %s", last, good.address())
				}
			})
		}
	}
}

// spoilt is what an upstream may do with a request that it has.
var spoilt = map[string]func(net.Conn){
	"hangs up": func(net.Conn) {},
	"begins to answer and hangs up": func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 20")
	},
	"says something before the answer and hangs up": func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
	},
	"answers nonsense": func(c net.Conn) { _, _ = io.WriteString(c, "nonsense\r\n\r\n") },
	"is slow":          func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) },
}

func TestRequestThatWasSentIsRepeatedOnlyIfThatIsSafe(t *testing.T) {
	a := newAuthority(t)
	requests := map[string]func() *http.Request{}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"} {
		requests[method] = func() *http.Request { return request(t.Context(), method, "") }
		requests[method+" with a body"] = func() *http.Request { return request(t.Context(), method, "body") }
	}
	requests["WebSocket"] = func() *http.Request {
		r := request(t.Context(), http.MethodGet, "")
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		return r
	}
	requests["POST with a key that says it may"] = func() *http.Request {
		r := request(t.Context(), http.MethodPost, "body")
		r.Header.Set("Idempotency-Key", "a stranger's word")
		return r
	}
	for how, handle := range spoilt {
		good := a.start(false, say("good"))
		bad := a.raw(handle)
		var options upstream.Options
		if how == "is slow" {
			options.HeaderTimeout = 100 * time.Millisecond // for which the good one is never asked
		}
		for name, make1 := range requests {
			t.Run(name+" and it "+how, func(t *testing.T) {
				p, notes := a.newPool(options, bad, good.url)
				repeated := how == "hangs up" && slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, name)
				want := []string{bad.Host}
				if repeated {
					want = append(want, good.address())
				}
				for notes.last() == nil || notes.last()[0] != bad.Host {
					_, _, err := ask(p, make1())
					if last := notes.last(); last[0] == bad.Host && (!slices.Equal(last, want) || (err == nil) != repeated) {
						t.Errorf("sent to %v with the error %v, want %v", last, err, want)
					}
				}
			})
		}
	}
}

// A sidecar that says that its application does not answer has answered itself.
func TestFaultOfASidecarIsRepeatedIfThatIsSafe(t *testing.T) {
	a := newAuthority(t)
	fault := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Sallyport-Fault", "app_unreachable")
			http.Error(w, "raw text", status)
		}
	}
	tests := []struct {
		name     string
		handle   http.HandlerFunc
		method   string
		body     string
		repeated bool
	}{
		{"a fault, safe to repeat", fault(http.StatusBadGateway), http.MethodGet, "", true},
		{"a fault, not safe to repeat", fault(http.StatusBadGateway), http.MethodPost, "x", false},
		{"a fault of the request", fault(http.StatusBadRequest), http.MethodGet, "", false},
		{"an error of the application", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, http.MethodGet, "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			good, bad := a.start(false, say("good")), a.start(false, test.handle)
			p, notes := a.newPool(upstream.Options{}, bad.url, good.url)
			for notes.last() == nil || notes.last()[0] != bad.address() {
				status, _, err := ask(p, request(t.Context(), test.method, test.body))
				if last := notes.last(); last[0] == bad.address() && ((status == http.StatusOK) != test.repeated || err != nil || (len(last) == 2) != test.repeated) {
					t.Errorf("answer %d, %v, sent to %v", status, err, last)
				}
			}
		})
	}
}

func TestRequestIsNotSentForEver(t *testing.T) {
	a := newAuthority(t)
	p, notes := a.newPool(upstream.Options{}, nobody(t, 8)...)
	body := &closing{Reader: strings.NewReader("x")}
	r := request(t.Context(), http.MethodPost, "x")
	r.Body = body
	_, err := p.RoundTrip(r)
	if last := notes.last(); err == nil || len(last) != 3 || last[0] == last[1] || last[1] == last[2] || last[0] == last[2] {
		t.Errorf("sent to %v, %v: want three, each once", last, err)
	}
	if !body.closed {
		t.Error("the body of a request that nobody took is open")
	}
	if p.Retries() != 2 {
		t.Errorf("%d retries counted, want 2", p.Retries())
	}
}

// Whoever goes away does not make an upstream look bad, and is not asked for again.
func TestRequestThatIsGivenUpSaysNothingOfTheUpstream(t *testing.T) {
	a := newAuthority(t)
	begun := make(chan struct{}, 2)
	wait := func(_ http.ResponseWriter, r *http.Request) { begun <- struct{}{}; <-r.Context().Done() }
	one, two := a.start(false, wait), a.start(false, wait)
	p, notes := a.newPool(upstream.Options{}, one.url, two.url)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, _, err := ask(p, request(ctx, http.MethodGet, "")); !errors.Is(err, context.Canceled) || len(notes.last()) != 1 {
		t.Errorf("sent to %v, %v", notes.last(), err)
	}
	for _, s := range p.Status() {
		if !s.Healthy || s.Faults != 0 || s.InFlight != 0 {
			t.Errorf("%+v, want one that is thought well of", s)
		}
	}
}
