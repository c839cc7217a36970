package proxy_test

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
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
