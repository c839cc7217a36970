package proxy_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/keep"
)

const urlencoded = "application/x-www-form-urlencoded"

// formWorld is a world with a clock, and a backend that remembers the bodies of what
// is posted to it.
func formWorld(t *testing.T, change func(*proxy.Config)) (*world, *clock, func() []string) {
	t.Helper()
	c := newClock()
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.Now = c.read
		if change != nil {
			change(cfg)
		}
	})
	return w, c, w.bodies()
}

// bodies returns what was posted to the backends since it was called.
func (w *world) bodies() func() []string {
	var mu sync.Mutex
	var all []string
	w.backend.mux.HandleFunc("POST /", func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.tb.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, string(body))
		_, _ = fmt.Fprintf(rw, "taken: %d bytes", len(body))
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), all...)
	}
}

// sendForm posts a body as a page of the given site does.
func (b *browser) sendForm(address, site, contentType string, body io.Reader) answer {
	b.w.tb.Helper()
	req := b.request(http.MethodPost, address, body)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Sec-Fetch-Site", site)
	if site == "same-origin" {
		req.Header.Set("Origin", "https://"+req.URL.Host)
		req.Header.Set("Referer", "https://"+req.URL.Host+"/the/form")
	}
	return b.do(req)
}

var (
	links   = regexp.MustCompile(`href="([^"]*)"`)
	actions = regexp.MustCompile(`action="([^"]*)"`)
)

// first is the first match on a page, as a browser reads it.
func (a answer) first(t *testing.T, what *regexp.Regexp) string {
	t.Helper()
	found := what.FindStringSubmatch(a.body)
	if found == nil {
		t.Fatalf("status %d, and there is none on the page: %s", a.StatusCode, a.body)
	}
	return html.UnescapeString(found[1])
}

// keptForm sends a form after alice's session has run out, and returns the page to
// which the link on the answer leads.
func keptForm(t *testing.T, b *browser, c *clock, body string) (page string) {
	t.Helper()
	b.signIn(b.w.origin(headersHost)+"/", "alice")
	c.pass(61 * time.Minute)
	res := b.sendForm(b.w.origin(headersHost)+"/save?a=1", "same-origin", urlencoded, strings.NewReader(body))
	if res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "Your form is kept") {
		t.Fatalf("status %d: %s", res.StatusCode, res.body)
	}
	return res.first(t, links)
}

func TestKeptFormIsSentOnceAndExactly(t *testing.T) {
	random := make([]byte, 100<<10)
	_, _ = rand.Read(random)
	multipart := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\n\r\n" + string(random) + "\r\n--b--\r\n"
	tests := []struct {
		name, uri, contentType, body string
		chunked                      bool
	}{
		{"three kilobytes", "/save", urlencoded, "text=" + strings.Repeat("a%20&", 600), false},
		{"a file of 100 kilobytes", "/upload/a?x=1", "multipart/form-data; boundary=b", multipart, false},
		{"the largest", "/", "text/plain", strings.Repeat("x", keep.MaxForm), false},
		{"an empty one", "/?", urlencoded, "", false},
		{"one of unknown length", "/save", urlencoded, "a=1", true},
		{"an odd address", "/a%2Fb/(it's)/%C3%BC;v=1?q=%3Ca&&b=%27'(x)&=&z", urlencoded, "a=1", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, c, bodies := formWorld(t, nil)
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			c.pass(61 * time.Minute)
			var body io.Reader = strings.NewReader(test.body)
			if test.chunked {
				body = io.MultiReader(body)
			}
			res := b.sendForm(w.origin(headersHost)+test.uri, "same-origin", test.contentType, body)
			if res.StatusCode != http.StatusUnauthorized || len(bodies()) != 0 {
				t.Fatalf("status %d, %d sent: %s", res.StatusCode, len(bodies()), res.body)
			}
			page := b.signIn(res.first(t, links), "alice")
			if page.StatusCode != http.StatusOK || !strings.Contains(page.body, "Send it now") || len(bodies()) != 0 {
				t.Fatalf("status %d, %d sent: %s", page.StatusCode, len(bodies()), page.body)
			}
			send := page.first(t, actions)
			sent := b.sendForm(send, "same-origin", urlencoded, http.NoBody)
			if diff := cmp.Diff([]string{test.body}, bodies()); sent.StatusCode != http.StatusOK || diff != "" {
				t.Fatalf("status %d, bodies (-want +got):\n%.500s", sent.StatusCode, diff)
			}
			got, _ := w.backend.seen()
			if got.Method != http.MethodPost || got.RequestURI != test.uri || got.Header.Get("Content-Type") != test.contentType || got.ContentLength != int64(len(test.body)) {
				t.Errorf("the backend got %s %s, %s, %d bytes", got.Method, got.RequestURI, got.Header.Get("Content-Type"), got.ContentLength)
			}
			if got.Header.Get("Origin") != w.origin(headersHost) || got.Header.Get("Referer") != w.origin(headersHost)+"/the/form" || got.Header.Get("Cookie") != "" {
				t.Errorf("the backend got the headers %v", got.Header)
			}
			again := b.sendForm(send, "same-origin", urlencoded, http.NoBody)
			if again.StatusCode != http.StatusGone || !strings.Contains(again.body, "form_gone") || len(bodies()) != 1 {
				t.Errorf("the second click: status %d, %d sent", again.StatusCode, len(bodies()))
			}
			if proxy.Forms(w.gateway).Len() != 0 {
				t.Error("the form is still kept")
			}
			for _, secret := range []string{"the/form", "form_kept"} {
				if strings.Contains(w.log.text(), secret) != (secret == "form_kept") {
					t.Errorf("access log and %q: %s", secret, w.log.text())
				}
			}
		})
	}
}

// TestKeptFormOfAPathThatLooksLikeAHost must not lead the browser, or the form, away.
func TestKeptFormOfAPathThatLooksLikeAHost(t *testing.T) {
	w, c, _ := formWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	c.pass(61 * time.Minute)
	res := b.sendForm(w.origin(headersHost)+"//evil.example/x", "same-origin", urlencoded, strings.NewReader("a=1"))
	send := b.signIn(res.first(t, links), "alice").first(t, actions)
	if !strings.HasPrefix(send, w.origin(headersHost)+"//evil.example/x?") {
		t.Fatalf("the button leads to %s", send)
	}
	b.sendForm(send, "same-origin", urlencoded, http.NoBody)
	if got, _ := w.backend.seen(); got.RequestURI != "//evil.example/x" || got.Method != http.MethodPost {
		t.Errorf("the backend got %s %s", got.Method, got.RequestURI)
	}
}

func TestMarkOfAKeptFormReachesNoBackend(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	for from, want := range map[string]string{
		"/a?sallyport-form=AAAA": "/a", "/a?x=1&sallyport-form=AAAA": "/a?x=1", "/a?sallyport-form=A&y=%20&sallyport-form=B": "/a?y=%20",
		"/a?xsallyport-form=1&y": "/a?xsallyport-form=1&y", "/a?sallyport-form": "/a?sallyport-form",
	} {
		if res := b.navigate(w.origin(headersHost) + from); res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", from, res.StatusCode)
		}
		if got, _ := w.backend.seen(); got.RequestURI != want {
			t.Errorf("%s reached the backend as %s, want %s", from, got.RequestURI, want)
		}
	}
	_, before := w.backend.seen()
	for _, query := range []string{"sallyport-form=", "sallyport-form=AAAA", "sallyport-form=AAAA&x=1", "sallyport-form=A&sallyport-form=A", "sallyport-form=%0d%0a"} {
		if res := b.post(w.origin(headersHost)+"/a?"+query, "same-origin", url.Values{"a": {"1"}}); res.StatusCode != http.StatusGone {
			t.Errorf("POST with %s: status %d", query, res.StatusCode)
		}
	}
	if _, hits := w.backend.seen(); hits != before {
		t.Errorf("%d clicks without a form reached the backend", hits-before)
	}
}

func TestKeptFormIsForItsSenderAlone(t *testing.T) {
	t.Run("another person in the same browser destroys it", func(t *testing.T) {
		w, c, bodies := formWorld(t, nil)
		b := w.browser()
		page := keptForm(t, b, c, "secret=1")
		if res := b.signIn(page, "bob"); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "form_other_person") || strings.Contains(res.body, "alice") {
			t.Errorf("status %d: %s", res.StatusCode, res.body)
		}
		b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
		b.post(w.origin(headersHost)+"/.sallyport/sign_out", "same-origin", nil)
		if res := b.signIn(page, "alice"); res.StatusCode != http.StatusGone || len(bodies()) != 0 || proxy.Forms(w.gateway).Len() != 0 {
			t.Errorf("status %d, %d sent", res.StatusCode, len(bodies()))
		}
	})
	t.Run("another browser has no key", func(t *testing.T) {
		w, c, bodies := formWorld(t, nil)
		b, other := w.browser(), w.browser()
		page := keptForm(t, b, c, "secret=1")
		if res := other.signIn(page, "alice"); res.StatusCode != http.StatusGone {
			t.Errorf("status %d: %s", res.StatusCode, res.body)
		}
		id := page[strings.LastIndex(page, "=")+1:]
		if res := other.sendForm(w.origin(headersHost)+"/save?sallyport-form="+id, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusGone {
			t.Errorf("status %d: %s", res.StatusCode, res.body)
		}
		if res := b.signIn(page, "alice"); res.StatusCode != http.StatusOK || len(bodies()) != 0 {
			t.Errorf("its sender: status %d", res.StatusCode)
		}
	})
}

func TestClickOfAnotherOriginSendsNothing(t *testing.T) {
	for _, unsafe := range []bool{false, true} {
		w, c, bodies := formWorld(t, func(cfg *proxy.Config) { cfg.Routes[0].UnsafeCrossOrigin = unsafe })
		b := w.browser()
		page := keptForm(t, b, c, "a=1")
		send := b.signIn(page, "alice").first(t, actions)
		for _, site := range []string{"cross-site", "same-site"} {
			for _, address := range []string{send, page} {
				if res := b.sendForm(address, site, urlencoded, http.NoBody); res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "cross_origin") {
					t.Errorf("unsafe %t, %s, %s: status %d", unsafe, site, address, res.StatusCode)
				}
			}
		}
		if len(bodies()) != 0 || proxy.Forms(w.gateway).Len() != 1 {
			t.Errorf("%d sent, %d kept", len(bodies()), proxy.Forms(w.gateway).Len())
		}
		if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusOK || len(bodies()) != 1 {
			t.Errorf("the person's own click: status %d, %d sent", res.StatusCode, len(bodies()))
		}
	}
}

func TestTwoClicksAtOnceSendOneForm(t *testing.T) {
	w, c, bodies := formWorld(t, nil)
	b := w.browser()
	send := b.signIn(keptForm(t, b, c, "a=1"), "alice").first(t, actions)
	var good atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if b.sendForm(send, "same-origin", urlencoded, http.NoBody).StatusCode == http.StatusOK {
				good.Add(1)
			}
		})
	}
	all.Wait()
	if good.Load() != 1 || len(bodies()) != 1 {
		t.Errorf("%d clicks were good, %d forms were sent", good.Load(), len(bodies()))
	}
}

func TestKeptFormThatIsThrownAway(t *testing.T) {
	w, c, bodies := formWorld(t, nil)
	b := w.browser()
	page := keptForm(t, b, c, "a=1")
	b.signIn(page, "alice")
	res := b.sendForm(page, "same-origin", urlencoded, http.NoBody)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != w.origin(headersHost)+"/" || proxy.Forms(w.gateway).Len() != 0 {
		t.Errorf("status %d, %d kept", res.StatusCode, proxy.Forms(w.gateway).Len())
	}
	if res := b.navigate(page); res.StatusCode != http.StatusGone || len(bodies()) != 0 {
		t.Errorf("status %d, %d sent", res.StatusCode, len(bodies()))
	}
}

func TestClickAfterASignOutLeadsBackToTheForm(t *testing.T) {
	w, c, bodies := formWorld(t, nil)
	b := w.browser()
	page := keptForm(t, b, c, "a=1")
	send := b.signIn(page, "alice").first(t, actions)
	b.post(w.origin(headersHost)+"/.sallyport/sign_out", "same-origin", nil)
	res := b.sendForm(send, "same-origin", urlencoded, http.NoBody)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != page || len(bodies()) != 0 {
		t.Fatalf("status %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if again := b.signIn(page, "alice").first(t, actions); again != send {
		t.Errorf("the form is at %s now, before at %s", again, send)
	}
}

func TestKeptFormExpires(t *testing.T) {
	w, c, bodies := formWorld(t, nil)
	b := w.browser()
	page := keptForm(t, b, c, "a=1")
	send := b.signIn(page, "alice").first(t, actions)
	c.pass(15 * time.Minute)
	for _, res := range []answer{b.navigate(page), b.sendForm(send, "same-origin", urlencoded, http.NoBody)} {
		if res.StatusCode != http.StatusGone || len(bodies()) != 0 {
			t.Errorf("status %d, %d sent", res.StatusCode, len(bodies()))
		}
	}
}

func TestKeptFormOutlivesAReplacedGateway(t *testing.T) {
	w, c, bodies := formWorld(t, nil)
	b := w.browser()
	page := keptForm(t, b, c, "a=1")
	cfg := w.cfg
	cfg.Replaces = w.gateway
	next, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.live.Replace(next)
	b.sendForm(b.signIn(page, "alice").first(t, actions), "same-origin", urlencoded, http.NoBody)
	if diff := cmp.Diff([]string{"a=1"}, bodies()); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

func TestKeptFormIsNotLostWhileTheToolIsDown(t *testing.T) {
	w, c, bodies := formWorld(t, nil)
	b := w.browser()
	send := b.signIn(keptForm(t, b, c, "a=1"), "alice").first(t, actions)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	replace := func(backend *url.URL) {
		cfg := w.cfg
		cfg.Routes = slices.Clone(cfg.Routes)
		cfg.Routes[0].Backend, cfg.Replaces = backend, w.live.Gateway()
		next, err := proxy.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.live.Replace(next)
	}
	up := w.cfg.Routes[0].Backend
	replace(&url.URL{Scheme: "https", Host: closed.Addr().String()})
	for range 2 {
		if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusBadGateway {
			t.Fatalf("while the tool is down: status %d", res.StatusCode)
		}
	}
	replace(up)
	if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusOK {
		t.Errorf("afterwards: status %d: %s", res.StatusCode, res.body)
	}
	if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusGone {
		t.Errorf("after it was sent: status %d", res.StatusCode)
	}
	if diff := cmp.Diff([]string{"a=1"}, bodies()); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

// TestKeptFormThatWasBegunIsNotSentAgain has a backend take a form and hang up.
func TestKeptFormThatWasBegunIsNotSentAgain(t *testing.T) {
	w, c, _ := formWorld(t, nil)
	w.backend.mux.HandleFunc("POST /save", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	})
	b := w.browser()
	send := b.signIn(keptForm(t, b, c, "a=1"), "alice").first(t, actions)
	if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d", res.StatusCode)
	}
	if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusGone {
		t.Errorf("once more: status %d", res.StatusCode)
	}
	if _, hits := w.backend.seen(); hits != 2 { // a page, and the form
		t.Errorf("the backend got %d requests", hits)
	}
}

func TestFormIsKeptForAStepUp(t *testing.T) {
	w, h := steppingWorld(t, nil)
	bodies := w.bodies()
	b := w.browser()
	b.signIn(w.origin(notesHost)+"/", "alice")
	h.clock.pass(6 * time.Minute)
	for _, site := range []string{"cross-site", "same-site"} {
		if res := b.sendForm(w.origin(notesHost)+"/delete", site, urlencoded, strings.NewReader("a=1")); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d", site, res.StatusCode)
		}
	}
	res := b.sendForm(w.origin(notesHost)+"/delete", "same-origin", urlencoded, strings.NewReader("all=1"))
	if res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "Your form is kept") {
		t.Fatalf("status %d: %s", res.StatusCode, res.body)
	}
	if last := w.lastRecord(9); last["event.action"] != "form_kept" || last["sallyport.decision"] != "step_up" || last["event.reason"] != "authn_too_old" {
		t.Errorf("line %v", last)
	}
	send := b.signIn(res.first(t, links), "alice").first(t, actions)
	h.clock.pass(6 * time.Minute) // the click comes too late as well
	if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusSeeOther || len(bodies()) != 0 {
		t.Fatalf("a late click: status %d, %d sent", res.StatusCode, len(bodies()))
	}
	send = b.signIn(res.first(t, links), "alice").first(t, actions)
	if res := b.sendForm(send, "same-origin", urlencoded, http.NoBody); res.StatusCode != http.StatusOK {
		t.Errorf("status %d: %s", res.StatusCode, res.body)
	}
	if diff := cmp.Diff([]string{"all=1"}, bodies()); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

func TestFormsThatAreNotKept(t *testing.T) {
	lapse := func(b *browser, c *clock) {
		b.signIn(b.w.origin(headersHost)+"/", "alice")
		c.pass(61 * time.Minute)
	}
	send := func(site, contentType string, body io.Reader) func(*browser, *clock) answer {
		return func(b *browser, c *clock) answer {
			lapse(b, c)
			return b.sendForm(b.w.origin(headersHost)+"/save", site, contentType, body)
		}
	}
	tests := []struct {
		name, reason string
		send         func(*browser, *clock) answer
	}{
		{"too large", "form_too_large", send("same-origin", urlencoded, strings.NewReader(strings.Repeat("x", keep.MaxForm+1)))},
		{"too large, of unknown length", "form_too_large", send("same-origin", urlencoded, io.MultiReader(strings.NewReader(strings.Repeat("x", keep.MaxForm+1))))},
		{"with too long an address", "form_too_large", func(b *browser, c *clock) answer {
			lapse(b, c)
			return b.sendForm(b.w.origin(headersHost)+"/"+strings.Repeat("x", 9000), "same-origin", urlencoded, strings.NewReader("a=1"))
		}},
		{"no form", "form_type", send("same-origin", "application/json", strings.NewReader("{}"))},
		{"of no type", "form_type", send("same-origin", "", strings.NewReader("a=1"))},
		{"from another site", "session_idle", send("cross-site", urlencoded, strings.NewReader("a=1"))},
		{"from a sibling", "session_idle", send("same-site", urlencoded, strings.NewReader("a=1"))},
		{"of a stranger", "no_session", func(b *browser, _ *clock) answer {
			return b.sendForm(b.w.origin(headersHost)+"/save", "same-origin", urlencoded, strings.NewReader("a=1"))
		}},
		{"of somebody who signed out", "session_revoked", func(b *browser, _ *clock) answer {
			b.signIn(b.w.origin(headersHost)+"/", "alice")
			b.post(b.w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
			return b.sendForm(b.w.origin(headersHost)+"/save", "same-origin", urlencoded, strings.NewReader("a=1"))
		}},
		{"of somebody who signed out, and whose session has run out since", "session_revoked", func(b *browser, c *clock) answer {
			b.signIn(b.w.origin(headersHost)+"/", "alice")
			b.post(b.w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
			c.pass(61 * time.Minute)
			return b.sendForm(b.w.origin(headersHost)+"/save", "same-origin", urlencoded, strings.NewReader("a=1"))
		}},
		{"of somebody who may not enter", "session_idle", func(b *browser, c *clock) answer {
			b.signIn(b.w.origin(notesHost)+"/", "bob")
			c.pass(61 * time.Minute)
			return b.sendForm(b.w.origin(notesHost)+"/save", "same-origin", urlencoded, strings.NewReader("a=1"))
		}},
		{"with a cookie that was changed", "session_invalid", func(b *browser, c *clock) answer {
			lapse(b, c)
			req := b.request(http.MethodPost, b.w.origin(headersHost)+"/save", strings.NewReader("a=1"))
			req.Header.Set("Content-Type", urlencoded)
			at, _ := url.Parse(b.w.origin(headersHost))
			for _, cookie := range b.client.Jar.Cookies(at) {
				req.Header.Add("Cookie", cookie.Name+"=A"+cookie.Value)
			}
			b.client.Jar = nil
			return b.do(req)
		}},
		{"when all is full", "form_store_full", func(b *browser, c *clock) answer {
			lapse(b, c)
			for n := range keep.MaxForms {
				if _, err := proxy.Forms(b.w.gateway).Reserve("x", strconv.Itoa(n), 0); err != nil {
					b.w.tb.Fatal(err)
				}
			}
			return b.sendForm(b.w.origin(headersHost)+"/save", "same-origin", urlencoded, strings.NewReader("a=1"))
		}},
		{"one more than a person may", "form_limit", func(b *browser, c *clock) answer {
			lapse(b, c)
			for range keep.MaxPerPerson {
				if _, err := proxy.Forms(b.w.gateway).Reserve("x", "alice@example.com", 0); err != nil {
					b.w.tb.Fatal(err)
				}
			}
			return b.sendForm(b.w.origin(headersHost)+"/save", "same-origin", urlencoded, strings.NewReader("a=1"))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, c, bodies := formWorld(t, nil)
			res := test.send(w.browser(), c)
			if res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, "Your form was not sent") || !strings.Contains(res.body, test.reason) {
				t.Errorf("status %d: %s", res.StatusCode, res.body)
			}
			if strings.Contains(fmt.Sprint(res.Header["Set-Cookie"]), "-form-") || len(bodies()) != 0 || strings.Contains(w.log.text(), "form_kept") {
				t.Errorf("it was kept, or sent: %v", res.Header)
			}
			if n := proxy.Forms(w.gateway).Len(); n != 0 && n != keep.MaxForms && n != keep.MaxPerPerson {
				t.Errorf("%d forms are kept", n)
			}
		})
	}
}

// TestFormThatBreaksOffIsNotKept sends less than was announced.
func TestFormThatBreaksOffIsNotKept(t *testing.T) {
	w, c, _ := formWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	c.pass(61 * time.Minute)
	conn, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.ca.pool, ServerName: headersHost})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	at, _ := url.Parse(w.origin(headersHost))
	var cookies []string
	for _, cookie := range b.client.Jar.Cookies(at) {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
	}
	_, _ = fmt.Fprintf(conn, "POST /save HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nContent-Type: %s\r\nContent-Length: 100\r\nCookie: %s\r\n\r\na=1", at.Host, urlencoded, strings.Join(cookies, "; "))
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Log(err) // the gateway may hang up before it has answered
	}
	if last := w.lastRecord(6); last["event.reason"] != "form_incomplete" || proxy.Forms(w.gateway).Len() != 0 {
		t.Errorf("line %v, %d kept", last, proxy.Forms(w.gateway).Len())
	}
}

func TestKeptFormStaysOutOfTheLog(t *testing.T) {
	w, c, _ := formWorld(t, func(cfg *proxy.Config) { cfg.QueryKeys = []string{"a", "id", "sallyport-form"} })
	b := w.browser()
	page := keptForm(t, b, c, "password=correct+horse")
	at, _ := url.Parse(w.origin(headersHost))
	var key string
	for _, cookie := range b.client.Jar.Cookies(at) {
		if strings.HasPrefix(cookie.Name, "__Host-sallyport-form-") {
			key = cookie.Value
		}
	}
	if raw, err := base64.RawURLEncoding.DecodeString(key); err != nil || len(raw) != 32 {
		t.Fatalf("the browser's key is %q: %v", key, err)
	}
	b.sendForm(b.signIn(page, "alice").first(t, actions), "same-origin", urlencoded, http.NoBody)
	last := w.lastRecord(12)
	if last["url.path"] != "/save" || last["url.query"] != "a=1" || last["event.action"] != "access" || last["event.reason"] != "group_allowed" {
		t.Errorf("line %v", last)
	}
	if text := w.log.text(); strings.Contains(text, "horse") || strings.Contains(text, key) {
		t.Errorf("the log has what nobody else may see:\n%s", text)
	}
}

func FuzzFormMark(f *testing.F) {
	for _, target := range []string{"/", "/?", "/?a=1", "/a?sallyport-form=", "/?sallyport-form=A&sallyport-form=B", "/?xsallyport-form=A&&", "/?%73allyport-form=A"} {
		f.Add(target, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	}
	f.Fuzz(func(t *testing.T, target, id string) {
		_, query, asked := strings.Cut(target, "?")
		rest, got, marked := proxy.CutFormMark(query)
		if strings.HasPrefix(rest, "sallyport-form=") || strings.Contains(rest, "&sallyport-form=") || (!marked && rest != query) {
			t.Errorf("%q without the mark is %q", query, rest)
		}
		if strings.ContainsFunc(got, func(c rune) bool { return (c < 'A' || c > 'Z') && (c < '0' || c > '9') }) || len(got) > 32 {
			t.Errorf("id %q", got)
		}
		if again, _, marked := proxy.CutFormMark(rest); marked || again != rest {
			t.Errorf("%q still has the mark", rest)
		}
		if marked || strings.ContainsAny(id, "&?#") {
			return
		}
		_, query, _ = strings.Cut(proxy.WithFormMark(target, id), "?")
		back, _, marked := proxy.CutFormMark(query)
		if !marked || asked && back != strings.TrimPrefix(target, target[:strings.Index(target, "?")+1]) || !asked && back != "" {
			t.Errorf("%q with the mark comes back as %q", target, back)
		}
	})
}
