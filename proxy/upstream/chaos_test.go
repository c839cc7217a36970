package upstream_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/proxy/upstream"
)

// tally is what upstreams saw of each request: its key and where.
type tally struct {
	mu   sync.Mutex
	seen map[string][]string
	torn []string // requests whose body did not come whole
}

func (c *tally) note(key, where, body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[key] = append(c.seen[key], where)
	if want := bodyOf(key); body != want {
		c.torn = append(c.torn, fmt.Sprintf("%s at %s: %d bytes of %d", key, where, len(body), len(want)))
	}
}

func (c *tally) has(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen[key]) > 0
}

// bodyOf is the body of the request with that key: none for some.
func bodyOf(key string) string {
	if strings.HasSuffix(key, "0") {
		return ""
	}
	return strings.Repeat(key+" ", 50)
}

// unruly is an upstream that does as it likes with half of the requests.
func (c *tally) unruly(where string, seed uint64) http.HandlerFunc {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.note(r.Header.Get("Key"), where, string(body))
		mu.Lock()
		n := random.IntN(8)
		mu.Unlock()
		switch n {
		case 0:
			panic(http.ErrAbortHandler) // hangs up
		case 1:
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 2:
			w.Header().Set("X-Sallyport-Fault", "app_unreachable")
			w.WriteHeader(http.StatusBadGateway)
		case 3:
			w.Header().Set("Connection", "close")
			_, _ = io.WriteString(w, "whole")
		default:
			_, _ = io.WriteString(w, "whole")
		}
	}
}

// Whatever upstreams do, at once and in any order: a request that changes
// something is seen by one of them, once, with its whole body; and one that does
// not by three at most.
func TestNoRequestThatChangesSomethingIsSeenTwice(t *testing.T) {
	for _, protocol := range []upstream.Protocol{upstream.HTTP1, upstream.HTTP2} {
		t.Run(string(protocol), func(t *testing.T) {
			a := newAuthority(t)
			c := &tally{seen: map[string][]string{}}
			at := nobody(t, 1)
			for i := range 4 {
				at = append(at, a.start(true, c.unruly(fmt.Sprint("upstream ", i), uint64(i))).url)
			}
			p, _ := a.newPool(upstream.Options{Protocol: protocol}, at...)
			methods := []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
			var asking sync.WaitGroup
			for worker := range 8 {
				asking.Go(func() {
					for i := range 100 {
						key := fmt.Sprintf("%s-%d-%d", methods[(worker+i)%len(methods)], worker, i)
						method, _, _ := strings.Cut(key, "-")
						r := request(t.Context(), method, bodyOf(key))
						r.Header.Set("Key", key)
						_, body, err := ask(p, r) // many fail, as they should
						if err == nil && body == "whole" && !c.has(key) {
							t.Errorf("%s was answered, and seen by nobody", key)
						}
					}
				})
			}
			asking.Wait()
			if len(c.torn) > 0 {
				t.Errorf("bodies that did not come whole: %q", c.torn)
			}
			for key, where := range c.seen {
				safe := strings.HasPrefix(key, "GET") || strings.HasPrefix(key, "HEAD") || strings.HasPrefix(key, "OPTIONS")
				if (!safe || bodyOf(key) != "") && len(where) > 1 {
					t.Errorf("%s was seen by %q", key, where)
				}
				if places := distinct(where); places > 3 {
					t.Errorf("%s was sent to %d upstreams", key, places)
				}
			}
			if len(c.seen) < 700 { // a POST may meet a connection that is being closed
				t.Errorf("%d requests of 800 came", len(c.seen))
			}
			for _, s := range p.Status() {
				if s.InFlight != 0 {
					t.Errorf("%s has %d requests under way after the last", s.Address, s.InFlight)
				}
			}
		})
	}
}

func distinct(all []string) int {
	found := map[string]bool{}
	for _, one := range all {
		found[one] = true
	}
	return len(found)
}

// BenchmarkPool is what choosing and counting add to a request.
func BenchmarkPool(b *testing.B) {
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var at []*url.URL
			for i := range n {
				at = append(at, &url.URL{Scheme: "https", Host: fmt.Sprintf("host-%d:8443", i)})
			}
			p, err := upstream.New(upstream.Config{Route: "tool", Upstreams: at, TLS: newAuthority(b).dial()})
			if err != nil {
				b.Fatal(err)
			}
			body := io.NopCloser(strings.NewReader(""))
			upstream.WithStandIns(p, func(_ string, r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Body: body, Request: r}, nil
			})
			r := request(b.Context(), http.MethodGet, "")
			b.ReportAllocs()
			for b.Loop() {
				res, _ := p.RoundTrip(r)
				res.Body.Close()
			}
		})
	}
}
