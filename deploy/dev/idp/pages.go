package idp

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed static
var static embed.FS

func parsePages() *template.Template {
	return template.Must(template.ParseFS(pageFiles, "pages/*.html"))
}

// page renders whole before the first byte is sent, so that a template that fails
// is an error page and not half a page.
func (p *IdP) page(w http.ResponseWriter, status int, name string, data any) {
	var buf bytes.Buffer
	if err := p.pages.ExecuteTemplate(&buf, name, data); err != nil {
		p.log.Error("rendering a page", "page", name, "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // the browser went away
}

// fail shows the person message and the log its cause; err may be nil.
func (p *IdP) fail(w http.ResponseWriter, status int, message string, err error) {
	p.log.Warn("refused", "status", status, "message", message, "error", err)
	p.page(w, status, "error.html", message)
}

func (p *IdP) serveNotFound(w http.ResponseWriter, _ *http.Request) {
	p.page(w, http.StatusNotFound, "error.html", "There is no such page.")
}
