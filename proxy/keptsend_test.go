package proxy_test

import (
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/keep"
)

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
