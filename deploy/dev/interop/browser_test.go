package interop

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// browser is a person at one: it follows redirects, sends the forms that a script
// would send, loads frames, and types a password where one is asked for.
type browser struct {
	*stage
	client  *http.Client
	cookies *jar

	user, password string
	passwords      int      // how often one was asked for
	trail          []string // what was asked for, "POST https://…", without queries
	response       string   // the last SAMLResponse that was posted, as XML
}

func (s *stage) browser(user, password string) *browser {
	return &browser{stage: s, client: s.client(), cookies: newJar(), user: user, password: password}
}

// page is what a browser shows.
type page struct {
	url    *url.URL
	status int
	header http.Header
	root   *html.Node
	text   string // as it came
}

// visit is a request on its way, with all its redirects.
type visit struct {
	method, address string
	form            url.Values
	initiator       *url.URL // the page that began it; nil for the address bar
	frame           bool
	cross           bool // whether another site was on the way
}

// steps is more than any sign-on takes.
const steps = 40

// open goes to an address as if it was typed.
func (b *browser) open(address string) *page {
	b.t.Helper()
	return b.settle(b.load(visit{method: http.MethodGet, address: address}), false)
}

// settle goes on until there is nothing that happens by itself.
func (b *browser) settle(p *page, frame bool) *page {
	b.t.Helper()
	for range steps {
		var f *form
		switch {
		case p.form("SAMLResponse") != nil:
			f = p.form("SAMLResponse")
			b.note(f)
		case p.form("SAMLRequest") != nil:
			f = p.form("SAMLRequest")
		case p.form("password") != nil && b.password != "" && !frame:
			f = p.form("password")
			b.fill(f)
		case p.form("/renewsession") != nil: // LemonLDAP::NG has a script send this before it asks for the password
			f = p.form("/renewsession")
		case p.onward() != "":
			p = b.load(visit{method: http.MethodGet, address: b.resolve(p.url, p.onward()), initiator: p.url, frame: frame})
			continue
		default:
			b.frames(p)
			return p
		}
		p = b.load(visit{method: f.method, address: f.action, form: f.fields, initiator: p.url, frame: frame})
	}
	b.t.Fatalf("no end after %d pages; the way was\n%s", steps, strings.Join(b.trail, "\n"))
	return nil
}

// note remembers a response.
func (b *browser) note(f *form) {
	b.t.Helper()
	raw, err := base64.StdEncoding.DecodeString(f.fields.Get("SAMLResponse"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.response = string(raw)
}

// fill types the name and the password.
func (b *browser) fill(f *form) {
	b.t.Helper()
	b.passwords++
	if b.passwords > 5 {
		b.t.Fatalf("the password is asked for again and again; the way was\n%s", strings.Join(b.trail, "\n"))
	}
	f.fields.Set("password", b.password)
	for _, name := range []string{"user", "username"} {
		if f.fields.Has(name) {
			f.fields.Set(name, b.user)
		}
	}
}

// frames loads what a page embeds, each to its end.
func (b *browser) frames(p *page) {
	b.t.Helper()
	for node := range p.root.Descendants() {
		if node.Type == html.ElementNode && node.Data == "iframe" && attribute(node, "src") != "" {
			address := b.resolve(p.url, attribute(node, "src"))
			b.settle(b.load(visit{method: http.MethodGet, address: address, initiator: p.url, frame: true}), true)
		}
	}
}

// press sends the form that has a field or goes to an address of that name.
func (b *browser) press(p *page, name string) *page {
	b.t.Helper()
	f := p.form(name)
	if f == nil {
		b.t.Fatalf("no form %q on %s:\n%s", name, p.url, p.text)
	}
	return b.settle(b.load(visit{method: f.method, address: f.action, form: f.fields, initiator: p.url}), false)
}

// load makes a request and follows its redirects.
func (b *browser) load(v visit) *page {
	b.t.Helper()
	for range steps {
		resp := b.send(&v)
		body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
		resp.Body.Close()
		if err != nil {
			b.t.Fatal(err)
		}
		if location := resp.Header.Get("Location"); location != "" && resp.StatusCode >= 300 && resp.StatusCode < 400 {
			v.address = b.resolve(resp.Request.URL, location)
			v.method, v.form = http.MethodGet, nil
			continue
		}
		root, err := html.Parse(strings.NewReader(string(body)))
		if err != nil {
			b.t.Fatal(err)
		}
		return &page{url: resp.Request.URL, status: resp.StatusCode, header: resp.Header, root: root, text: string(body)}
	}
	b.t.Fatalf("redirects without end; the way was\n%s", strings.Join(b.trail, "\n"))
	return nil
}

// send makes one request, with what a browser says about it (Fetch Metadata) and
// the cookies that it lets go along.
func (b *browser) send(v *visit) *http.Response {
	b.t.Helper()
	var body io.Reader
	if v.method == http.MethodPost {
		body = strings.NewReader(v.form.Encode())
	}
	if v.method == http.MethodGet && v.form != nil {
		v.address, v.form = strings.SplitN(v.address, "?", 2)[0]+"?"+v.form.Encode(), nil
	}
	req, err := http.NewRequestWithContext(b.t.Context(), v.method, v.address, body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.trail = append(b.trail, v.method+" "+withoutQuery(req.URL))
	req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	req.Header.Set("User-Agent", "interop")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", map[bool]string{false: "document", true: "iframe"}[v.frame])
	req.Header.Set("Sec-Fetch-Site", v.site(req.URL))
	if v.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", v.initiator.Scheme+"://"+v.initiator.Host)
	}
	b.cookies.send(req, v)
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatalf("%v; the way was\n%s", err, strings.Join(b.trail, "\n"))
	}
	b.cookies.keep(resp, v)
	return resp
}

// site is the value of Sec-Fetch-Site.
func (v *visit) site(to *url.URL) string {
	switch {
	case v.initiator == nil:
		return "none"
	case siteOf(v.initiator.Hostname()) != siteOf(to.Hostname()) || v.cross:
		v.cross = true
		return "cross-site"
	case v.initiator.Host != to.Host:
		return "same-site"
	}
	return "same-origin"
}

// siteOf is the registrable domain: the last two labels.
func siteOf(host string) string {
	labels := strings.Split(host, ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}

func (b *browser) resolve(base *url.URL, reference string) string {
	b.t.Helper()
	u, err := base.Parse(reference)
	if err != nil {
		b.t.Fatal(err)
	}
	u.Fragment = ""
	return u.String()
}

func withoutQuery(u *url.URL) string {
	bare := *u
	bare.RawQuery = ""
	return bare.String()
}

// went reports whether the browser asked for an address that begins so.
func (b *browser) went(what string) bool {
	for _, step := range b.trail {
		if strings.HasPrefix(step, what) {
			return true
		}
	}
	return false
}

// form is one on a page, with its fields as they stand there.
type form struct {
	method, action string
	fields         url.Values
}

// form returns the form that has a field of that name, or whose address ends so; nil
// if there is none.
func (p *page) form(name string) *form {
	for node := range p.root.Descendants() {
		if node.Type != html.ElementNode || node.Data != "form" {
			continue
		}
		f := p.read(node)
		if f.fields.Has(name) || strings.HasSuffix(f.action, name) {
			return f
		}
	}
	return nil
}

// onward is where the page leads by itself; empty if it does not.
func (p *page) onward() string {
	if _, address, ok := strings.Cut(p.header.Get("Refresh"), "="); ok {
		return address
	}
	for node := range p.root.Descendants() {
		if node.Type == html.ElementNode && node.Data == "meta" && strings.EqualFold(attribute(node, "http-equiv"), "refresh") {
			_, address, _ := strings.Cut(attribute(node, "content"), "=")
			return address
		}
	}
	return ""
}

func (p *page) read(node *html.Node) *form {
	f := &form{method: http.MethodGet, fields: url.Values{}}
	if strings.EqualFold(attribute(node, "method"), "post") {
		f.method = http.MethodPost
	}
	action, err := p.url.Parse(attribute(node, "action"))
	if err != nil {
		return f
	}
	action.Fragment = ""
	f.action = action.String()
	for field := range node.Descendants() {
		if field.Type == html.ElementNode && field.Data == "input" && attribute(field, "name") != "" {
			f.fields.Add(attribute(field, "name"), attribute(field, "value"))
		}
	}
	return f
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
