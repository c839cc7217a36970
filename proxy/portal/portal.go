// Package portal draws the few pages that Sallyport itself shows: the list of
// tools at the door, the choice of an identity provider, the sign-out, and one page
// for everything that goes wrong.
//
// It decides nothing: it is given what may be shown. Pages hold no external
// resource, no text of a client that was not escaped by html/template, and no
// script but the one line of the page that posts itself; the
// Content-Security-Policy says so to the browser too.
package portal

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

//go:embed pages/*.html pages/style.css
var files embed.FS

// Tool is one entry of the door's list.
type Tool struct {
	Title, Description, URL string
}

// Home is the door's list of tools.
type Home struct {
	User, Name string
	Tools      []Tool
	SignOutURL string
}

// Notice is a page with a title, a sentence and few things to do.
type Notice struct {
	Status  int    // HTTP status, 200 to 599; shown for 4xx and 5xx
	Title   string // what happened, in a few words
	Message string // what it means for the person, and what to do
	// Reason is a stable code and RequestID the number of the access-log line:
	// what a person tells the help desk. Both may be empty.
	Reason, RequestID string
	// Link is where the page leads on; empty for none.
	Link, LinkText string
	// Help is a page of somebody else's that may help the person: an absolute https
	// address; empty for none.
	Help, HelpText string
	// Post is an address that a button posts to; empty for none.
	Post, PostText string
	// Onward is an absolute https address that the browser goes on to by itself, at
	// once; Link should lead there too. Unlike a redirect that answers a form, it is
	// not held to the form-action of the page that the form was on. Empty for none.
	Onward string
}

// Pages renders pages. It is immutable and safe for concurrent use.
type Pages struct {
	templates *template.Template
	style     template.CSS
	// The parts of the Content-Security-Policy: of every page; of all but the
	// others; of the one that posts itself; of the one whose button a tool answers.
	common, ordinary, posting, answered string
}

// noFrames is the end of a Content-Security-Policy: of every page that belongs in no
// frame.
const noFrames = "; frame-ancestors 'none'"

// New parses the embedded pages. doorOrigin is the one origin beside the page's
// own that a form may lead to, such as https://door.example.com.
func New(doorOrigin string) (*Pages, error) {
	templates, err := template.ParseFS(files, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("parsing pages: %w", err)
	}
	style, err := files.ReadFile("pages/style.css")
	if err != nil {
		return nil, fmt.Errorf("reading style sheet: %w", err)
	}
	return &Pages{
		templates: templates,
		style:     template.CSS(style), //nolint:gosec // our own embedded file, not input
		common:    "default-src 'none'; base-uri 'none'; style-src " + hashSource(style),
		ordinary:  "; form-action 'self' " + doorOrigin,
		posting:   "; script-src " + hashSource([]byte(submit)) + "; form-action https:",
		answered:  "; form-action 'self' https:",
	}, nil
}

// Style is the style sheet of the pages, for others of ours that look like them.
func Style() string {
	sheet, err := files.ReadFile("pages/style.css")
	if err != nil {
		return "" // it is embedded
	}
	return string(sheet)
}

// hashSource allows one inline script or style sheet, and no other (CSP level 3,
// section 2.3.1).
func hashSource(inline []byte) string {
	sum := sha256.Sum256(inline)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// WriteHome answers with the list of tools.
func (p *Pages) WriteHome(w http.ResponseWriter, home Home) error {
	return p.write(w, http.StatusOK, p.common+p.ordinary+noFrames, "home.html", home)
}

// WriteNotice answers with n and its status. Without a valid status it answers
// nothing and returns an error.
func (p *Pages) WriteNotice(w http.ResponseWriter, n Notice) error {
	if n.Status < http.StatusOK || n.Status > 599 {
		return fmt.Errorf("rendering notice %q: status %d, expected 200 to 599", n.Title, n.Status)
	}
	if n.Help != "" {
		if err := checkAction(n.Help); err != nil {
			return fmt.Errorf("rendering notice %q: %w", n.Title, err)
		}
	}
	if n.Onward != "" {
		if err := checkAction(n.Onward); err != nil {
			return fmt.Errorf("rendering notice %q: %w", n.Title, err)
		}
		w.Header().Set("Refresh", "0; url="+n.Onward)
	}
	return p.write(w, n.Status, p.common+p.ordinary+noFrames, "notice.html", n)
}

// write renders the page fully before the first byte is sent, so that a fault
// never leaves half a page.
func (p *Pages) write(w http.ResponseWriter, status int, policy, name string, data any) error {
	var page bytes.Buffer
	err := p.templates.ExecuteTemplate(&page, name, struct {
		Style  template.CSS
		Script template.JS
		Data   any
	}{p.style, submit, data})
	if err != nil {
		return fmt.Errorf("rendering %s: %w", name, err)
	}
	h := w.Header()
	Protect(h)
	h.Set("Content-Security-Policy", policy)
	if !strings.HasSuffix(policy, noFrames) {
		h.Del("X-Frame-Options") // which knows no origins
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	w.WriteHeader(status)
	if _, err := page.WriteTo(w); err != nil {
		return fmt.Errorf("sending %s: %w", name, err)
	}
	return nil
}

// StrictTransport is the Strict-Transport-Security (RFC 6797) of every answer
// that brings none of its own: hosts behind the door are never spoken to in the
// clear.
const StrictTransport = "max-age=31536000"

// Protect sets the headers of every answer that Sallyport makes itself: it is
// about one person and one moment, and belongs in no cache and no frame.
func Protect(h http.Header) {
	h.Set("Strict-Transport-Security", StrictTransport)
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Cookie")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}
