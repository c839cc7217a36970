package portal

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

var update = flag.Bool("update", false, "write the golden pages anew")

const door = "https://door.example.com"

// pages are all that this package can show, under the names of their golden
// files.
func pages() map[string]func(*Pages, http.ResponseWriter) error {
	home := func(h Home) func(*Pages, http.ResponseWriter) error {
		return func(p *Pages, w http.ResponseWriter) error { return p.WriteHome(w, h) }
	}
	notice := func(n Notice) func(*Pages, http.ResponseWriter) error {
		return func(p *Pages, w http.ResponseWriter) error { return p.WriteNotice(w, n) }
	}
	chooser := func(c Chooser) func(*Pages, http.ResponseWriter) error {
		return func(p *Pages, w http.ResponseWriter) error { return p.WriteChooser(w, c) }
	}
	return map[string]func(*Pages, http.ResponseWriter) error{
		"home": home(Home{User: "alice@example.com", Name: "Alice Liddell", SignOutURL: "/.sallyport/sign_out", Tools: []Tool{
			{Title: "Grafana", Description: "Dashboards", URL: "https://grafana.example.com/"},
			{Title: "Notes", URL: "https://notes.example.com:8443/"},
		}}),
		"home-empty": home(Home{User: "bob@example.com", SignOutURL: "/.sallyport/sign_out"}),
		"notice-refused": notice(Notice{
			Status: http.StatusForbidden, Title: "You may not open Grafana", Message: "Ask its owner.",
			Reason: "not_in_group", RequestID: "abcdefghij234567", Link: door + "/", LinkText: "Your tools",
		}),
		"notice-help": notice(Notice{
			Status: http.StatusForbidden, Title: "Signing in did not work", Message: "Trying again does not help.", RequestID: "abcdefghij234567",
			Link: door + "/?choose=1", LinkText: "Try again", Help: "https://idp.example.org/help?a=b&c=%2B", HelpText: "Help of your identity provider",
		}),
		"notice-button": notice(Notice{Status: http.StatusOK, Title: "Sign out?", Message: "Of every tool.", Post: "/.sallyport/sign_out", PostText: "Sign out"}),
		"chooser":       chooser(Chooser{Choices: []Choice{{Title: "Example Ltd", URL: "/?idp=corp", Last: true}, {Title: "Partners", URL: "/?idp=partners"}}}),
		"chooser-address": chooser(Chooser{
			Tool: "Grafana", Choices: []Choice{{Title: "Example Ltd", URL: "/.sallyport/sign_in?begin=AAAA&idp=corp"}},
			AskAddress: true, Action: "/.sallyport/sign_in", Fields: []Field{{"begin", "AAAA"}}, Unknown: true, Address: "alice@nowhere.example",
		}),
		"form": func(p *Pages, w http.ResponseWriter) error { return p.WriteForm(w, signOnForm()) },
		"kept": func(p *Pages, w http.ResponseWriter) error {
			return p.WriteKept(w, Kept{
				Tool: "Notes", User: "alice@example.com", Method: "POST", Path: "/pages/7/edit", Size: "3 kB", Age: "2 minutes",
				Send: "https://notes.example.com:8443/pages/7/edit?a=1&b=%3C&mark=ID", Discard: "/.sallyport/form?id=ID",
			})
		},
		"notice-onward": notice(Notice{
			Status: http.StatusOK, Title: "Signing you out", Message: "Your browser goes on by itself.",
			Onward: "https://idp.example.org/slo?a=b&c=%2B", Link: "https://idp.example.org/slo?a=b&c=%2B", LinkText: "Go on",
		}),
		"notice-plain": notice(Notice{Status: http.StatusOK, Title: "You are signed out", Message: "All tools are closed."}),
	}
}

func newPages(tb testing.TB) *Pages {
	tb.Helper()
	p, err := New(door)
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return p
}

func render(tb testing.TB, write func(*Pages, http.ResponseWriter) error) *http.Response {
	tb.Helper()
	w := httptest.NewRecorder()
	if err := write(newPages(tb), w); err != nil {
		tb.Fatal(err)
	}
	return w.Result()
}

// body reads an answer's page.
func body(tb testing.TB, res *http.Response) string {
	tb.Helper()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(page)
}

var style = regexp.MustCompile(`(?s)<style>(.*)</style>`)

func TestPagesAreTheGoldenOnes(t *testing.T) {
	for name, write := range pages() {
		t.Run(name, func(t *testing.T) {
			got := style.ReplaceAllString(body(t, render(t, write)), "<style>…</style>")
			golden := filepath.Join("testdata", name+".golden.html")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v: run go test -update", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHeaders compares the whole header: a page that may be framed, cached or
// sniffed is one that leaks.
func TestHeaders(t *testing.T) {
	res := render(t, pages()["notice-refused"])
	text := body(t, res)
	sheet := style.FindStringSubmatch(text)[1]
	sum := sha256.Sum256([]byte(sheet))
	want := http.Header{
		"Cache-Control": {"no-store"}, "Vary": {"Cookie"}, "Referrer-Policy": {"no-referrer"},
		"X-Content-Type-Options": {"nosniff"}, "X-Frame-Options": {"DENY"},
		"Strict-Transport-Security": {"max-age=31536000"},
		"Content-Type":              {"text/html; charset=utf-8"}, "Content-Length": {strconv.Itoa(len(text))},
		"Content-Security-Policy": {"default-src 'none'; base-uri 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; form-action 'self' https://door.example.com; frame-ancestors 'none'"},
	}
	if diff := cmp.Diff(want, res.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, want 403", res.StatusCode)
	}
}

// elements walks the tree that a browser makes of a page.
func elements(tb testing.TB, text string) []*html.Node {
	tb.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	var all []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			all = append(all, n)
		}
	}
	return all
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

// TestEveryPageCanBeReadByEverybody checks what a screen reader needs, and that
// nothing is there which the policy would block.
func TestEveryPageCanBeReadByEverybody(t *testing.T) {
	allowed := []string{
		"html", "head", "meta", "title", "style", "body", "header", "main", "div", "p", "h1", "ul", "li", "a", "strong", "span",
		"form", "button", "dl", "dt", "dd", "label", "input",
	}
	for name, write := range pages() {
		t.Run(name, func(t *testing.T) {
			count := make(map[string]int)
			for _, n := range elements(t, body(t, render(t, write))) {
				count[n.Data]++
				if !slices.Contains(allowed, n.Data) && (name != "form" || n.Data != "script") {
					t.Errorf("element <%s>", n.Data)
				}
				for _, a := range n.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" {
						t.Errorf("attribute %s on <%s>", a.Key, n.Data)
					}
				}
				switch n.Data {
				case "html":
					if attr(n, "lang") != "en" {
						t.Errorf("lang = %q", attr(n, "lang"))
					}
				case "title", "h1", "button", "a", "dt", "dd", "label":
					if text(n) == "" {
						t.Errorf("<%s> without text", n.Data)
					}
				case "form":
					asks := strings.HasPrefix(name, "chooser") // changes nothing
					if attr(n, "method") != "post" && !asks || attr(n, "action") == "" {
						t.Errorf("form %v", n.Attr)
					}
				case "input":
					if attr(n, "type") != "hidden" && attr(n, "id") == "" {
						t.Errorf("no label can be of the field %v", n.Attr)
					}
				}
			}
			for _, once := range []string{"title", "h1", "main"} {
				if count[once] != 1 {
					t.Errorf("%d <%s>, want 1", count[once], once)
				}
			}
		})
	}
}

// TestHostileTextStaysText puts markup into every field and looks at the tree
// that a browser would make: it may differ from a harmless page in text only.
func TestHostileTextStaysText(t *testing.T) {
	for _, evil := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title></style><script>alert(1)</script>`,
		`' onmouseover='alert(1)`, `<!--`, `]]>`, "\x00<b>", `{{.User}}`, `&lt;b&gt;`, `<base href=//evil>`, "</main><h1>",
	} {
		shape := func(fill string) []string {
			written := []func(*Pages, http.ResponseWriter) error{
				func(p *Pages, w http.ResponseWriter) error {
					return p.WriteHome(w, Home{User: fill, Name: fill, SignOutURL: "/" + fill, Tools: []Tool{{Title: fill, Description: fill, URL: "https://a.example.com/" + fill}}})
				},
				func(p *Pages, w http.ResponseWriter) error { return p.WriteHome(w, Home{User: fill, SignOutURL: fill}) },
				func(p *Pages, w http.ResponseWriter) error {
					return p.WriteChooser(w, Chooser{
						Tool: fill, Choices: []Choice{{Title: fill, URL: fill, Last: true}}, AskAddress: true, Action: fill, Fields: []Field{{fill, fill}}, Unknown: true, Address: fill,
					})
				},
				func(p *Pages, w http.ResponseWriter) error {
					return p.WriteNotice(w, Notice{Status: 400, Title: fill, Message: fill, Reason: fill, RequestID: fill, Link: fill, LinkText: fill, Post: fill, PostText: fill})
				},
			}
			var names []string
			for _, write := range written {
				for _, n := range elements(t, body(t, render(t, write))) {
					name := n.Data
					for _, a := range n.Attr {
						name += " " + a.Key
					}
					names = append(names, name)
				}
			}
			return names
		}
		if diff := cmp.Diff(shape("harmless"), shape(evil)); diff != "" {
			t.Errorf("%q changed the page (-harmless +hostile):\n%s", evil, diff)
		}
	}
}

func TestHostileAddressesLeadNowhere(t *testing.T) {
	for _, evil := range []string{"javascript:alert(1)", " JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x"} {
		for _, write := range []func(*Pages, http.ResponseWriter) error{
			func(p *Pages, w http.ResponseWriter) error {
				return p.WriteHome(w, Home{User: "a", SignOutURL: evil, Tools: []Tool{{Title: "a", URL: evil}}})
			},
			func(p *Pages, w http.ResponseWriter) error {
				return p.WriteNotice(w, Notice{Status: 200, Title: "a", Link: evil, LinkText: "a", Post: evil, PostText: "a"})
			},
			func(p *Pages, w http.ResponseWriter) error {
				return p.WriteChooser(w, Chooser{Choices: []Choice{{Title: "a", URL: evil}}, AskAddress: true, Action: evil})
			},
		} {
			found := 0
			for _, n := range elements(t, body(t, render(t, write))) {
				if address := attr(n, "href") + attr(n, "action"); address != "" {
					found++
					if address != "#ZgotmplZ" {
						t.Errorf("%q became <%s> to %q", evil, n.Data, address)
					}
				}
			}
			if found != 2 {
				t.Errorf("%d addresses on the page, want 2", found)
			}
		}
	}
}

func TestNoticeNeedsAStatus(t *testing.T) {
	for _, status := range []int{0, 100, 199, 600} {
		w := httptest.NewRecorder()
		if err := newPages(t).WriteNotice(w, Notice{Status: status, Title: "x"}); err == nil || w.Body.Len() > 0 {
			t.Errorf("WriteNotice with status %d: error %v, %d bytes", status, err, w.Body.Len())
		}
	}
}

// gone is a browser that went away.
type gone struct{ http.ResponseWriter }

var errGone = errors.New("connection reset")

func (gone) Write([]byte) (int, error) { return 0, errGone }

func TestSendingToSomebodyWhoLeft(t *testing.T) {
	if err := newPages(t).WriteHome(gone{httptest.NewRecorder()}, Home{}); !errors.Is(err, errGone) {
		t.Errorf("WriteHome = %v, want %v", err, errGone)
	}
}

func BenchmarkWriteNotice(b *testing.B) {
	p, write := newPages(b), pages()["notice-refused"]
	b.ReportAllocs()
	for b.Loop() {
		if err := write(p, httptest.NewRecorder()); err != nil {
			b.Fatal(err)
		}
	}
}
