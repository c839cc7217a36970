package auditpage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/proxy/portal"
)

//go:embed pages/*.html pages/audit.css pages/live.js
var files embed.FS

// Config is what a Page needs. It must not be changed after New. All fields are required
// unless they say otherwise.
type Config struct {
	// Base is the path of the page at its host, without a slash at its end; what is
	// below it is the page's, too. Home is where its reader's tools are.
	Base, Home string
	// Store is where records are looked up, and Recent the latest of them.
	Store  Store
	Recent *Recent
	// Verified says what is known of the files of the log. Nil says that nobody looks.
	Verified func() Verification
	// Now is the clock, called concurrently; nil means time.Now.
	Now func() time.Time
}

// Page is the audit page. It is safe for concurrent use.
type Page struct {
	cfg       Config
	templates *template.Template
	style     template.CSS
	script    template.JS
	policy    string // the Content-Security-Policy of all but the live page
	scripted  string // that of the live page
	searchers watchers
	watchers  watchers
}

const (
	// searchesAtOnce is how many searches are under way at once, and searchTime how long
	// each may take.
	searchesAtOnce = 4
	searchTime     = 3 * time.Second
	// searchesPerPerson is how many of them may be one person's, exports included.
	searchesPerPerson = 2
	// searchRetry is when somebody may try again who was turned away, in seconds.
	searchRetry = "2"
)

// New returns a Page.
func New(cfg Config) (*Page, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Verified == nil {
		cfg.Verified = func() Verification { return Verification{} }
	}
	templates, err := template.ParseFS(files, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("parsing pages: %w", err)
	}
	sheet, err := files.ReadFile("pages/audit.css")
	if err != nil {
		return nil, fmt.Errorf("reading style sheet: %w", err)
	}
	script, err := files.ReadFile("pages/live.js")
	if err != nil {
		return nil, fmt.Errorf("reading script: %w", err)
	}
	style := append([]byte(portal.Style()), sheet...)
	policy := "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; style-src " + hashSource(style)
	return &Page{
		cfg: cfg, templates: templates,
		style:     template.CSS(style), //nolint:gosec // our own embedded files, not input
		script:    template.JS(script), //nolint:gosec // the same
		policy:    policy,
		scripted:  policy + "; connect-src 'self'; script-src " + hashSource(script),
		searchers: watchers{most: searchesAtOnce, each: searchesPerPerson, of: map[string]int{}},
		watchers:  watchers{most: liveInAll, each: livePerPerson, of: map[string]int{}},
	}, nil
}

// hashSource allows one inline script or style sheet, and no other (CSP level 3,
// section 2.3.1).
func hashSource(inline []byte) string {
	sum := sha256.Sum256(inline)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Viewer is who looks.
type Viewer struct{ User, Name string }

// Visit is what somebody has done here, for the record of it.
type Visit struct {
	// Query is what was looked for, as it was understood: it has nothing that was not, and
	// no secret, unless a person has typed one into the form.
	Query string
	// Err is why it was not found: ErrBusy, ErrSlow, ErrQuery, or a fault of the Store or
	// of the connection; nil for none.
	Err error
}

// ErrQuery says that what was asked for could not be understood.
var ErrQuery = errors.New("search could not be understood")

// The paths below the page's own.
const (
	pathSearch       = ""
	pathDenials      = "/denials"
	pathLive         = "/live"
	pathEvents       = "/live/events"
	pathVerification = "/verification"
	pathCSV          = "/export.csv"
	pathJSON         = "/export.json"
)

// Has reports whether there is something at a path below the page's own.
func (p *Page) Has(path string) bool {
	switch path {
	case pathSearch, pathDenials, pathLive, pathEvents, pathVerification, pathCSV, pathJSON:
		return true
	}
	return false
}

// Background reports whether what is at a path is fetched by a page of ours, or saved,
// and never shown by itself.
func (p *Page) Background(path string) bool {
	return path == pathEvents || path == pathCSV || path == pathJSON
}

// Unattended reports whether what is at a path may be asked for again and again with
// nobody there: it must not keep a session alive.
func (p *Page) Unattended(path string) bool { return path == pathLive || path == pathEvents }

// Serve answers a GET or HEAD request for a path that the Page has. The caller has
// decided that who may look, and ends ctx when that is over.
func (p *Page) Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, path string, who Viewer) Visit {
	v := &visit{page: p, who: who, asked: parse(r.URL.Query(), p.cfg.Now()), path: path, head: r.Method == http.MethodHead}
	protect(w.Header())
	if foreign(r) && len(v.asked.values) > 0 && !p.Background(path) {
		return Visit{Err: v.show(ctx, w, "trouble.html", v.led)}
	}
	var err error
	switch path {
	case pathEvents:
		err = v.stream(ctx, w, r)
	case pathCSV, pathJSON:
		err = v.export(ctx, w)
	case pathDenials:
		err = v.show(ctx, w, "denials.html", v.denials)
	case pathLive:
		err = v.show(ctx, w, "live.html", v.live)
	case pathVerification:
		err = v.show(ctx, w, "verification.html", v.verification)
	default:
		err = v.show(ctx, w, "search.html", v.search)
	}
	return Visit{Query: v.asked.values.Encode(), Err: err}
}

// again is the label of what may be tried again.
const again = "Try again"

// foreign reports whether a page of another site, or of another host of the same, has made
// r (Fetch Metadata section 2.4). A browser that says nothing is taken at its word: whether
// it may fetch here at all is for the caller.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return true
}

// visit is one request on its way.
type visit struct {
	page  *Page
	who   Viewer
	asked asked
	path  string
	head  bool
}

// sheetOf is what every page is drawn from.
type sheetOf struct {
	Style  template.CSS
	Script template.JS
	Title  string
	Viewer Viewer
	Home   string
	Nav    []navigation
	Data   any
}

// navigation is one of the pages that there are.
type navigation struct {
	Title, URL string
	Here       bool
}

// nav leads to the other pages, with the same search where it means something.
func (v *visit) nav() []navigation {
	query := v.asked.with(paramBefore, "")
	return []navigation{
		{"Search", v.page.address(pathSearch, query), v.path == pathSearch},
		{"Denials", v.page.address(pathDenials, query), v.path == pathDenials},
		{"Live", v.page.address(pathLive, query), v.path == pathLive},
		{"Verification", v.page.address(pathVerification, ""), v.path == pathVerification},
	}
}

// address is that of a path below the page's own.
func (p *Page) address(path, query string) string {
	at := url.URL{Path: p.cfg.Base + path, RawQuery: query}
	return at.String()
}

// searching takes a place among the searches, and bounds the time of one.
func (p *Page) searching(ctx context.Context, person string, time time.Duration) (bound context.Context, leave func(), err error) {
	switch all, mine := p.searchers.enter(person); {
	case !mine:
		return nil, nil, ErrYours
	case !all:
		return nil, nil, ErrBusy
	}
	bound, cancel := context.WithTimeoutCause(ctx, time, ErrSlow)
	return bound, func() { cancel(); p.searchers.leave(person) }, nil
}

// show draws a page from what fill finds, or says why there is nothing to be found.
func (v *visit) show(ctx context.Context, w http.ResponseWriter, name string, fill func(context.Context) (title string, data any, err error)) error {
	status := http.StatusOK
	title, data, cause := v.filled(ctx, fill)
	switch {
	case cause == nil && len(v.asked.faults) > 0:
		status, cause = http.StatusBadRequest, ErrQuery // the page itself says what is wrong
	case errors.Is(cause, ErrQuery):
		status, name, title = http.StatusBadRequest, "trouble.html", "Search again"
		data = trouble{"This address is not complete", "It was shortened on its way here, or is older than what this gateway holds.", v.page.address(pathSearch, ""), again}
	case cause != nil:
		status, name, title = http.StatusServiceUnavailable, "trouble.html", "Not now"
		data = troubles(cause, v.page.address(v.path, v.asked.values.Encode()))
		w.Header().Set("Retry-After", searchRetry)
	}
	sent := v.write(w, status, name, sheetOf{Title: title, Data: data})
	if cause != nil {
		return cause
	}
	return sent
}

// filled is what fill finds, while it has the place of a search.
func (v *visit) filled(ctx context.Context, fill func(context.Context) (title string, data any, err error)) (title string, data any, err error) {
	ctx, leave, err := v.page.searching(ctx, v.who.User, searchTime)
	if err != nil {
		return "", nil, err
	}
	defer leave()
	return fill(ctx)
}

// trouble is why there is nothing to be seen, and what to do; Label is of the way to do it.
type trouble struct{ Title, Message, Again, Label string }

// led is the page for whoever another site has led here to search: it has not been
// searched, and it would not be they who did.
func (v *visit) led(context.Context) (title string, data any, err error) {
	return "Search", trouble{"Another site has led you to this search", "Searches are in the access log under your name. Look at the address, and go on if it is what you want to look for.",
		v.page.address(v.path, v.asked.values.Encode()), "Search"}, nil
}

func troubles(cause error, at string) trouble {
	t := trouble{"The log cannot be searched now", "Sallyport's operators can see why. Everything is still recorded.", at, again}
	switch {
	case errors.Is(cause, ErrYours):
		t.Title, t.Message = "Two of your searches are under way", "Each person may have two at once, in all windows. Try again when one has ended, in a few seconds."
	case errors.Is(cause, ErrBusy):
		t.Title, t.Message = "Too many searches at once", "Others are searching at this moment. Try again in a few seconds."
	case errors.Is(cause, ErrSlow), errors.Is(cause, context.DeadlineExceeded):
		t.Title, t.Message = "This search takes too long", "Choose a shorter range of time, or look for one person or one tool."
	}
	return t
}

// write renders the page fully before the first byte is sent, so that a fault never
// leaves half a page.
func (v *visit) write(w http.ResponseWriter, status int, name string, s sheetOf) error {
	p := v.page
	s.Style, s.Script, s.Viewer, s.Home, s.Nav = p.style, p.script, v.who, p.cfg.Home, v.nav()
	var page bytes.Buffer
	if err := p.templates.ExecuteTemplate(&page, name, s); err != nil {
		http.Error(w, "This page could not be drawn.", http.StatusInternalServerError)
		return fmt.Errorf("rendering %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Security-Policy", p.policy)
	if name == "live.html" {
		h.Set("Content-Security-Policy", p.scripted)
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	w.WriteHeader(status)
	if v.head {
		return nil
	}
	if _, err := page.WriteTo(w); err != nil {
		return fmt.Errorf("sending %s: %w", name, err)
	}
	return nil
}

// protect sets the headers of every answer: what is here is for one person, in one
// window of their own.
func protect(h http.Header) {
	portal.Protect(h)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Robots-Tag", "noindex")
}
