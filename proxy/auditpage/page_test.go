package auditpage

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// shown are the addresses of all that is a page, and what each has been asked.
func shown(tb testing.TB, l ...string) map[string]string {
	tb.Helper()
	p, empty := newPage(tb, l...), newPage(tb)
	pages := map[string]string{}
	for name, at := range map[string][2]string{
		"search": {pathSearch, "last=all"}, "of a person": {pathSearch, "last=all&person=alice@example.com"}, "faults": {pathSearch, "address=x&path=y&from=z&last=0"},
		"nothing found": {pathSearch, "person=nobody"}, "denials": {pathDenials, "last=all"}, "no denials": {pathDenials, "person=nobody"}, "live": {pathLive, ""},
		"verification": {pathVerification, ""}, "lost": {pathSearch, "before=x"},
	} {
		w, _ := get(tb.Context(), p, at[0], at[1])
		pages[name] = w.Body.String()
	}
	w, _ := get(tb.Context(), empty, pathSearch, "")
	pages["empty"] = w.Body.String()
	return pages
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

func TestHeaders(t *testing.T) {
	p := newPage(t, line(1, nil))
	for path, scripted := range map[string]bool{pathSearch: false, pathDenials: false, pathVerification: false, pathLive: true} {
		w, _ := get(t.Context(), p, path, "")
		policy := "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; style-src " + hashSource([]byte(p.style))
		if scripted {
			policy += "; connect-src 'self'; script-src " + hashSource([]byte(p.script))
		}
		want := http.Header{
			"Cache-Control": {"no-store"}, "Vary": {"Cookie"}, "Referrer-Policy": {"no-referrer"}, "X-Content-Type-Options": {"nosniff"}, "X-Frame-Options": {"DENY"},
			"Strict-Transport-Security": {"max-age=31536000"}, "Cross-Origin-Resource-Policy": {"same-origin"},
			"X-Robots-Tag": {"noindex"}, "Content-Type": {"text/html; charset=utf-8"}, "Content-Length": {strconv.Itoa(w.Body.Len())}, "Content-Security-Policy": {policy},
		}
		if diff := cmp.Diff(want, w.Header()); diff != "" || w.Code != http.StatusOK {
			t.Errorf("%s: status %d, headers (-want +got):\n%s", path, w.Code, diff)
		}
		body := w.Body.String()
		if !strings.Contains(body, "<style>"+string(p.style)+"</style>") || strings.Contains(body, "<script") != scripted {
			t.Errorf("%s: the page has another style or script than its policy allows", path)
		}
	}
}

// TestEveryPageCanBeReadByEverybody checks what a screen reader needs, and that nothing is
// there which the policy would block.
func TestEveryPageCanBeReadByEverybody(t *testing.T) {
	for name, page := range shown(t, line(1, nil), denial(2, "bob@example.com"), denial(3, "")) {
		t.Run(name, func(t *testing.T) {
			count, labels, ids := map[string]int{}, map[string]bool{}, map[string]bool{}
			all := elements(t, page)
			for _, n := range all {
				if id := attr(n, "id"); id != "" {
					if ids[id] {
						t.Errorf("two have the id %s", id)
					}
					ids[id] = true
				}
				if n.Data == "label" {
					labels[attr(n, "for")] = true
				}
			}
			for _, n := range all {
				count[n.Data]++
				for _, a := range n.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" {
						t.Errorf("attribute %s on <%s>", a.Key, n.Data)
					}
				}
				checkElement(t, n, labels, ids)
			}
			for _, once := range []string{"title", "h1", "main", "nav"} {
				if count[once] < 1 || count[once] > 1 && once != "nav" && once != "title" { // a bar of a chart has a title, too
					t.Errorf("%d <%s>", count[once], once)
				}
			}
		})
	}
}

func checkElement(t *testing.T, n *html.Node, labels, ids map[string]bool) {
	t.Helper()
	switch n.Data {
	case "html":
		if attr(n, "lang") != "en" {
			t.Errorf("lang = %q", attr(n, "lang"))
		}
	case "title", "h1", "h2", "button", "a", "dt", "label", "summary", "caption", "th":
		if text(n) == "" {
			t.Errorf("<%s> without text", n.Data)
		}
		if n.Data == "th" && attr(n, "scope") == "" {
			t.Errorf("<th> %s without scope", text(n))
		}
	case "input", "select":
		if !labels[attr(n, "id")] {
			t.Errorf("no label is of the field %v", n.Attr)
		}
		if by := attr(n, "aria-describedby"); by != "" && !ids[by] || (attr(n, "aria-invalid") != "") != (by != "") {
			t.Errorf("what is wrong with the field is not said: %v", n.Attr)
		}
	case "table":
		if by := attr(n, "aria-labelledby"); by != "" && ids[by] {
			return
		}
		if first := n.FirstChild.NextSibling; first == nil || first.Data != "caption" {
			t.Error("<table> without a caption")
		}
	case "form":
		if attr(n, "method") != "get" || attr(n, "action") == "" {
			t.Errorf("form %v", n.Attr)
		}
	}
}

// TestHostileTextStaysText puts markup into every value of a record, and into every field
// of the form, and looks at the tree that a browser would make: it may differ from a
// harmless page in text only.
func TestHostileTextStaysText(t *testing.T) {
	shape := func(fill string) map[string][]string {
		p := newPage(t, line(1, func(r *accesslog.Record) {
			r.Reason, r.Rule, r.User, r.Groups, r.SessionID, r.IdP, r.Route, r.Method, r.Host, r.Path, r.Query = fill, fill, fill, []string{fill, fill}, fill, fill, fill, fill, fill, fill, fill
			r.Decision, r.ClientAddress, r.UserAgent, r.Cause, r.RequestID, r.Upstream = "deny", fill, fill, fill, fill, fill
		}))
		query := "last=all&path=/x&address=10.0.0.0/8&"
		for _, name := range []string{paramPerson, paramTool, paramReason, paramRule, paramSession, paramRequest, paramText} {
			query += name + "=" + strings.ReplaceAll(httpEscape(fill), "\x00", "") + "&"
		}
		shapes := map[string][]string{}
		for _, path := range []string{pathSearch, pathDenials, pathLive} {
			for kind, q := range map[string]string{"": "last=all", " asked": query} {
				w, _ := get(t.Context(), p, path, q)
				for _, n := range elements(t, w.Body.String()) {
					name := n.Data
					for _, a := range n.Attr {
						name += " " + a.Key
						if a.Key == "href" && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#main") {
							t.Errorf("%q made an address %q", fill, a.Val)
						}
					}
					shapes[path+kind] = append(shapes[path+kind], name)
				}
			}
		}
		return shapes
	}
	for _, evil := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title></style><script>alert(1)</script>`, `' onmouseover='alert(1)`, `<!--`, `]]>`,
		`{{.User}}`, `&lt;b&gt;`, `<base href=//evil>`, "</td></table></main><h1>", "javascript:alert(1)", "//evil.example", `\u003cb\u003e`,
	} {
		if diff := cmp.Diff(shape("harmless"), shape(evil)); diff != "" {
			t.Errorf("%q changed a page (-harmless +hostile):\n%s", evil, diff)
		}
	}
}

func httpEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("%" + strconv.FormatInt(int64(s[i])|0x100, 16)[1:])
	}
	return b.String()
}

func TestWholeRecordIsShownAndLeadsOn(t *testing.T) {
	p := newPage(t, line(1, nil))
	w, visit := get(t.Context(), p, pathSearch, "last=all&tool=notes")
	if visit.Err != nil || visit.Query != "last=all&tool=notes" {
		t.Errorf("visit %+v", visit)
	}
	var record map[string]any
	if err := json.Unmarshal([]byte(line(1, nil)), &record); err != nil {
		t.Fatal(err)
	}
	names, links := map[string]bool{}, map[string]string{}
	for _, n := range elements(t, w.Body.String()) {
		switch n.Data {
		case "dt":
			names[text(n)] = true
		case "a":
			links[text(n)] = attr(n, "href")
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(record)), slices.Sorted(maps.Keys(names))); diff != "" {
		t.Errorf("members (-record +page):\n%s", diff)
	}
	for value, want := range map[string]string{
		"alice@example.com": "person=alice%40example.com", "192.0.2.7": "address=192.0.2.7", "0123456789abcdef": "session=0123456789abcdef",
		"aaaaaaaaaaaa0001": "request=aaaaaaaaaaaa0001", "group:engineers": "rule=group%3Aengineers", "group_allowed": "reason=group_allowed",
	} {
		if got := links[value]; got != "/.sallyport/audit?last=all&"+want && got != "/.sallyport/audit?"+want+"&last=all" {
			t.Errorf("%s leads to %q", value, got)
		}
	}
}

func TestSearchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPageOver(t, endless{}, NewRecent(DefaultMemory))
		codes := make(chan string, 2*searchesAtOnce)
		ask := func(path, person string) {
			w, visit := getAs(t.Context(), p, path, "last=all", person)
			codes <- strconv.Itoa(w.Code) + " " + visit.Err.Error() + " " + w.Header().Get("Retry-After")
		}
		for range searchesPerPerson {
			go ask(pathSearch, "alice@example.com")
		}
		synctest.Wait()
		for _, path := range []string{pathSearch, pathDenials, pathCSV} {
			ask(path, "alice@example.com")
			if got := <-codes; got != "503 "+ErrYours.Error()+" 2" {
				t.Errorf("one more of hers, of %s: %s", path, got)
			}
		}
		for range searchesAtOnce - searchesPerPerson {
			go ask(pathSearch, "bob@example.com")
		}
		synctest.Wait()
		for _, path := range []string{pathSearch, pathDenials, pathCSV} {
			ask(path, "carol@example.com")
			if got := <-codes; got != "503 "+ErrBusy.Error()+" 2" {
				t.Errorf("one more, of %s: %s", path, got)
			}
		}
		<-time.After(searchTime)
		for range searchesAtOnce {
			if got := <-codes; got != "503 "+ErrSlow.Error()+" 2" {
				t.Errorf("a slow search: %s", got)
			}
		}
		go ask(pathCSV, "alice@example.com")
		<-time.After(exportTime)
		if got := <-codes; got != "503 "+ErrSlow.Error()+" 2" {
			t.Errorf("a slow export: %s", got)
		}
	})
}

// endless is a Store in which every search takes as long as it may.
type endless struct{}

func (endless) Find(ctx context.Context, _ *Search, _ string, _ int) ([]Record, string, error) {
	<-ctx.Done()
	return nil, "", context.Cause(ctx)
}

func (endless) Timeline(ctx context.Context, _ *Search, _ Steps) ([]Step, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (endless) Denials(ctx context.Context, _ *Search, _ int) ([]Denial, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (endless) Extent(context.Context) (Extent, error) { return Extent{Count: 1}, nil }

// broken is a Store whose disk is gone.
type broken struct{ endless }

var errDisk = errors.New("input/output error at /var/lib/sallyport/audit")

func (broken) Extent(context.Context) (Extent, error) { return Extent{}, errDisk }

func TestTroubleOfTheStoreIsNotShown(t *testing.T) {
	p := newPageOver(t, broken{}, NewRecent(DefaultMemory))
	w, visit := get(t.Context(), p, pathSearch, "")
	if w.Code != http.StatusServiceUnavailable || !errors.Is(visit.Err, errDisk) {
		t.Errorf("status %d, %v", w.Code, visit.Err)
	}
	if strings.Contains(w.Body.String(), "input/output") || strings.Contains(w.Body.String(), "/var/lib") {
		t.Error("the page shows the cause")
	}
}

func TestHeadHasNoBody(t *testing.T) {
	p := newPage(t, line(1, nil))
	for _, path := range []string{pathSearch, pathDenials, pathLive, pathEvents, pathVerification, pathCSV, pathJSON} {
		w, r := newRecorder(), newRequest(t, http.MethodHead, path)
		if visit := p.Serve(t.Context(), w, r, path, visitor); visit.Err != nil || w.Code != http.StatusOK || w.Body.Len() > 0 {
			t.Errorf("%s: status %d, %d bytes, %v", path, w.Code, w.Body.Len(), visit.Err)
		}
	}
}

func TestVerificationSaysWhatIsKnown(t *testing.T) {
	chain := Chain{Instance: "abcdefghijklmnopqrstuvwxyz", First: 1, Last: 12, At: noon, Signed: 10, SignedAt: noon, Signer: "transit/transit/sallyport-log/v2", Current: true}
	tests := map[string]struct {
		give Verification
		want []string
	}{
		"nobody looks":    {Verification{}, []string{"does not verify its files"}},
		"for the first":   {Verification{On: true}, []string{"under way"}},
		"whole":           {Verification{On: true, Since: noon, Records: 12000, Files: 1, Chains: []Chain{chain}}, []string{"Nothing is missing", "12\u202f000 records in 1 file", "1 to 12, and goes on", "up to 10, by transit/transit/sallyport-log/v2"}},
		"not whole":       {Verification{On: true, Since: noon, Findings: []Finding{{"gap", "access.log:17", "12 records are missing"}}, More: 3}, []string{"The log is not whole", "12 records are missing", "3 others"}},
		"cannot be known": {Verification{On: true, Since: noon, Fault: errDisk}, []string{"cannot be verified now"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPage(t)
			p.cfg.Verified = func() Verification { return test.give }
			w, visit := get(t.Context(), p, pathVerification, "")
			page := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(w.Body.String(), "")
			for _, want := range test.want {
				if !strings.Contains(page, want) {
					t.Errorf("%q is not on the page", want)
				}
			}
			if visit.Err != nil || strings.Contains(page, "input/output") {
				t.Errorf("visit %v; or the page shows a cause", visit.Err)
			}
		})
	}
}
